package report

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/bench"
)

var update = flag.Bool("update", false, "write the golden files of testdata anew")

// sampleReport is a shortened report of a real run.
func sampleReport(t testing.TB) *bench.Report {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", "report.json"))
	require.NoError(t, err)
	defer f.Close()
	r, err := bench.Read(f)
	require.NoError(t, err)
	return r
}

// requireGolden compares a text with a file, or writes the file with -update.
func requireGolden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), got)
}

// bareName is the subject that is the file system itself.
const bareName = "bare"

// newReport is a report of one place without results.
func newReport() *bench.Report {
	r := &bench.Report{Format: bench.Format, Complete: true, Places: []bench.PlaceInfo{{Name: "ext4", FileSystem: "ext4"}}}
	for _, name := range []string{"overlay2", "btrfs", "vfs", "aufs"} {
		r.Subjects = append(r.Subjects, bench.SubjectInfo{Name: name, Copies: name == "vfs"})
	}
	for _, option := range []string{"metacopy", "volatile", "metacopy+volatile", "redirect_dir=off", "fsync=auto", "fsync=strict"} {
		r.Subjects = append(r.Subjects, bench.SubjectInfo{Name: "overlay2+" + option, VariantOf: "overlay2"})
	}
	r.Subjects = append(r.Subjects,
		bench.SubjectInfo{Name: "containerd-overlayfs", Peer: true},
		bench.SubjectInfo{Name: "containerd-native", Peer: true, Copies: true},
		bench.SubjectInfo{Name: "hardlinks", Reference: true},
		bench.SubjectInfo{Name: bareName, Reference: true, Copies: true, Bare: true})
	return r
}

// result is the result of "suite/case/param=value", with one metric.
func result(name, subject, unit string, samples ...float64) bench.Result {
	parts := strings.Split(name, "/")
	r := bench.Result{Suite: parts[0], Case: parts[1], Place: "ext4", Subject: subject, Rounds: len(samples)}
	for _, p := range parts[2:] {
		key, value, _ := strings.Cut(p, "=")
		r.Params = append(r.Params, bench.Param{Name: key, Value: value})
	}
	r.Metrics = []bench.Metric{{Name: "first", Unit: unit, Samples: samples}}
	return r
}

// around returns n samples within 1 % of a value, always the same ones.
func around(value float64, n int, seed uint64) []float64 {
	random := rand.New(rand.NewPCG(seed, 1))
	var all []float64
	for range n {
		all = append(all, value*(0.99+0.02*random.Float64()))
	}
	return all
}

// largeReport has all suites, with sweeps and many subjects, and no real
// numbers.
func largeReport() *bench.Report {
	r := newReport()
	r.Places = append(r.Places, bench.PlaceInfo{Name: "xfs", FileSystem: "xfs"}, bench.PlaceInfo{Name: "scratch", FileSystem: "btrfs"})
	names := []string{
		"copy-up/size/size=0", "copy-up/size/size=4KiB", "copy-up/size/size=64KiB", "copy-up/size/size=1MiB", "copy-up/size/size=64MiB",
		"copy-up/size/size=1GiB", "copy-up/depth/layers=1", "copy-up/depth/layers=10", "copy-up/depth/layers=50", "copy-up/depth/layers=128",
		"copy-up/depth/layers=500", "copy-up/chmod/size=1MiB", "inodes/layer/files=1000", "inodes/layer/files=20000", "read/stat/layers=1",
		"read/stat/layers=500", "read/find", "life-cycle/prepare/files=1000", "life-cycle/prepare/files=20000", "life-cycle/remove", "workloads/apt",
	}
	subjects := []string{"overlay2", "overlay2+metacopy", "overlay2+volatile", "overlay2+metacopy+volatile", "btrfs", "vfs", "aufs", "containerd-overlayfs", "bare"}
	for _, place := range r.Places {
		for i, name := range names {
			for j, subject := range subjects {
				value, unit := 1e-5*float64(1+i%6)*float64(1+i%6)*float64(1+j), bench.Seconds
				if strings.HasPrefix(name, "inodes/") {
					value, unit = float64(100*(j+1)), bench.Inodes
				}
				one := result(name, subject, unit, around(value, 12, uint64(i*100+j))...)
				one.Place = place.Name
				one.Metrics = append(one.Metrics, bench.Metric{Name: "written", Unit: bench.Bytes, Samples: around(float64(1000*(i+1)*(j+1)), 4, uint64(i))})
				r.Results = append(r.Results, one)
			}
		}
	}
	return r
}

// hostileReports are reports that a program would not write.
func hostileReports() map[string]*bench.Report {
	evil := `"><script>alert(1)</script>` + "\n\x1b[31m\u202e'&{{.}}"
	named := newReport()
	named.Places[0] = bench.PlaceInfo{Name: evil, FileSystem: evil, Options: evil, Device: evil}
	named.Machine = bench.Machine{CPU: evil, Kernel: evil, OS: evil, Arch: evil}
	named.Version = evil
	for _, size := range []string{"1", "2", evil} {
		one := result("x/y", evil, evil, 1, 2, 3, 4, 5, 6, 7)
		one.Suite, one.Case, one.Place, one.Note = evil, evil, evil, evil
		one.Params = bench.Params{{Name: evil, Value: size}}
		skipped := one
		skipped.Skipped, skipped.Subject = evil, "other"+evil
		named.Results = append(named.Results, one, skipped)
	}
	empty := newReport()
	empty.Results = []bench.Result{{}, {Suite: "copy-up", Metrics: []bench.Metric{{}, {Name: "first"}}}, {Metrics: []bench.Metric{{Samples: []float64{1}}}}}
	numbers := newReport()
	for i, values := range [][]float64{
		{1e308, 1.7e308, 1e308, -1.7e308, 1e308, 1.7e308, -1e308}, {5e-324, 5e-324, 5e-324, 5e-324, 5e-324, 1e-320},
		{0, 0, 0, 0, 0, 0}, {-1, -2, -3, -4, -5, -6}, {0}, {1e-300, 1e300, 1e-300, 1e300, 1, 2},
	} {
		for j, unit := range []string{bench.Seconds, bench.Bytes, bench.Share, bench.PerSecond, bench.Inodes, "odd"} {
			for _, size := range []string{"0", "-5", "1e308", "1e-308", "4KiB", "nan", "1e308GiB"} {
				one := result(fmt.Sprintf("copy-up/case%d/size=%s", j, size), fmt.Sprint("driver", i), unit, values...)
				one.Rounds = i - 1
				numbers.Results = append(numbers.Results, one)
			}
			numbers.Results = append(numbers.Results, result(fmt.Sprint("read/single", j), fmt.Sprint("driver", i), unit, values...))
		}
	}
	numbers.Noise = bench.Noise{Control: []float64{-1, 0, 1e308, -1e308, 1e308}, Steal: 1e308, LoadBefore: -1e308}
	numbers.Machine = bench.Machine{CPUs: -1 << 62, Memory: -1 << 62}
	return map[string]*bench.Report{"names": named, "nothing in it": empty, "numbers": numbers, "zero": {}}
}
