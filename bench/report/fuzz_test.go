package report

import (
	"bytes"
	"io"
	"testing"

	"github.com/layerkeep/layerkeep/bench"
)

// Whatever the bytes of a report are, reading and writing it never panics.
func FuzzReport(f *testing.F) {
	for _, r := range hostileReports() {
		r.Results = r.Results[:min(len(r.Results), 6)] // small ones change in more ways
		var b bytes.Buffer
		if r.Write(&b) == nil {
			f.Add(b.Bytes())
		}
	}
	f.Add([]byte(`{"layerkeep_bench":1,"results":[{"suite":"copy-up","case":"size","place":"ext4","subject":"overlay2",` +
		`"params":[{"name":"size","value":"0"}],"rounds":2,"metrics":[{"name":"first","unit":"s","samples":[1,2,3,4,5,6]}]},` +
		`{"suite":"copy-up","case":"size","params":[{"name":"size","value":"1"}],"metrics":[{"samples":[-1e308,1e308]}]}]}`))
	other := with(newReport(), result("copy-up/size/size=0", "overlay2", bench.Seconds, around(1, 8, 1)...),
		result("copy-up/size/size=1", "overlay2", bench.Seconds, around(2, 8, 2)...), result("read/find", "vfs", bench.PerSecond, 0, -1))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := bench.Read(bytes.NewReader(raw))
		if err != nil {
			return
		}
		if err := Text(io.Discard, r, len(raw)%200); err != nil {
			t.Fatal(err)
		}
		if err := HTML(io.Discard, r); err != nil {
			t.Fatal(err)
		}
		if err := Benchstat(io.Discard, r); err != nil {
			t.Fatal(err)
		}
		for _, before := range []*bench.Report{r, other} {
			if c, err := Compare(before, r); err == nil {
				if err := WriteComparison(io.Discard, c, len(raw)%200); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}
