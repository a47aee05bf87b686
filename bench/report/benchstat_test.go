package report

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/perf/benchfmt"

	"github.com/layerkeep/layerkeep/bench"
)

// readBack reads the format with the library of benchstat: the values of each
// benchmark and unit, and the configuration of each.
func readBack(t testing.TB, r *bench.Report) (values map[string][]float64, config map[string]string) {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, Benchstat(&b, r))
	values, config = map[string][]float64{}, map[string]string{}
	for in := benchfmt.NewReader(&b, "test"); in.Scan(); {
		switch rec := in.Result().(type) {
		case *benchfmt.Result:
			for _, v := range rec.Values {
				key := string(rec.Name) + " " + v.Unit
				values[key] = append(values[key], v.Value)
				config[string(rec.Name)] = rec.GetConfig("place") + " " + rec.GetConfig("filesystem") + " " + rec.GetConfig("kernel") + " " + rec.GetConfig("cpu")
			}
		case *benchfmt.SyntaxError:
			t.Fatal(rec)
		}
	}
	return values, config
}

func TestBenchstatReadsEverySample(t *testing.T) {
	r := sampleReport(t)
	values, config := readBack(t, r)
	name := "CopyUp/size/size=4KiB/subject=overlay2/place=ext4"
	one := newIndex(r).cells[cellKey{"ext4", "copy-up/size/size=4KiB", "overlay2"}]
	require.Equal(t, one.metric("first").samples, values[name+" first-sec/op"])
	require.Equal(t, one.metric("written").samples, values[name+" written-B/op"])
	require.Equal(t, one.metric("inodes").samples, values[name+" inodes/op"])
	require.Equal(t, one.metric("shared").samples, values[name+" shared-ratio"])
	require.Equal(t, "ext4 ext4 6.18.44-fc-v782 AMD EPYC", config[name])
	require.Contains(t, config["CopyUp/size/size=4KiB/subject=btrfs/place=btrfs"], "btrfs btrfs")

	total, written := 0, 0
	for _, c := range newIndex(r).cells {
		for _, m := range c.metrics {
			total += m.n()
		}
	}
	for _, v := range values {
		written += len(v)
	}
	require.Equal(t, total, written)
}

func TestBenchstatReadsHostileNames(t *testing.T) {
	for name, r := range hostileReports() {
		t.Run(name, func(t *testing.T) { readBack(t, r) })
	}
}
