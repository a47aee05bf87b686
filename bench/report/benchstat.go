package report

import (
	"bufio"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/perf/benchfmt"

	"github.com/layerkeep/layerkeep/bench"
)

// Benchstat writes every sample in the format of Go's benchmarks, which
// benchstat reads:
//
//	place: ext4
//	filesystem: ext4
//	kernel: 6.18.44
//	cpu: AMD EPYC
//	BenchmarkCopyUp/size/size=4KiB/subject=overlay2/place=ext4 1 0.0015 first-sec/op
//
// Metrics with equally many samples share their lines. Compare two files with
// "benchstat old.txt new.txt", drivers with "benchstat -col /subject new.txt".
func Benchstat(w io.Writer, r *bench.Report) error {
	x := newIndex(r)
	buffered := bufio.NewWriter(w)
	out := benchfmt.NewWriter(buffered)
	if err := writeUnits(out, x); err != nil {
		return err
	}
	for _, place := range x.places {
		config := benchConfig(x.report, place)
		for _, c := range x.cases {
			for _, s := range x.subjects {
				one := x.cell(place, c, s)
				if one == nil {
					continue
				}
				if err := writeSamples(out, config, benchName(c, s, place), one); err != nil {
					return err
				}
			}
		}
	}
	return buffered.Flush()
}

// writeUnits says which units are better when they are higher.
func writeUnits(out *benchfmt.Writer, x *index) error {
	var units []string
	for _, one := range x.cells {
		for _, m := range one.metrics {
			if isMoreBetter(m.unit) {
				units = appendNew(units, benchUnit(m.metric, m.unit))
			}
		}
	}
	for _, u := range slices.Sorted(slices.Values(units)) {
		higher := &benchfmt.UnitMetadata{UnitMetadataKey: benchfmt.UnitMetadataKey{Unit: u, Key: "better"}, OrigUnit: u, Value: "higher"}
		if err := out.Write(higher); err != nil {
			return err
		}
	}
	return nil
}

func benchConfig(r *bench.Report, place string) []benchfmt.Config {
	var fs string
	for _, p := range r.Places {
		if p.Name == place {
			fs = p.FileSystem
		}
	}
	var config []benchfmt.Config
	for _, c := range [][2]string{{"place", place}, {"filesystem", fs}, {"kernel", r.Machine.Kernel}, {"cpu", r.Machine.CPU}} {
		// A line without a value would delete the key.
		config = append(config, benchfmt.Config{Key: c[0], Value: []byte(orUnknown(strings.TrimSpace(c[1]))), File: true})
	}
	return config
}

// writeSamples writes a line for each sample.
func writeSamples(out *benchfmt.Writer, config []benchfmt.Config, name string, one *cell) error {
	done := map[int]bool{}
	for _, first := range one.metrics {
		n := first.n()
		if done[n] {
			continue
		}
		done[n] = true
		for i := range n {
			line := &benchfmt.Result{Config: config, Name: benchfmt.Name(name), Iters: 1}
			for _, m := range one.metrics {
				if m.n() == n {
					line.Values = append(line.Values, benchfmt.Value{Value: m.samples[i], Unit: benchUnit(m.metric, m.unit)})
				}
			}
			if err := out.Write(line); err != nil {
				return err
			}
		}
	}
	return nil
}

// benchName is "CopyUp/size/size=4KiB/subject=overlay2/place=ext4".
func benchName(c *caseInfo, subject, place string) string {
	parts := []string{camel(c.suite), benchWord(c.plain)}
	for _, p := range c.params {
		parts = append(parts, benchWord(p.Name)+"="+benchWord(p.Value))
	}
	return strings.Join(append(parts, "subject="+benchWord(subject), "place="+benchWord(place)), "/")
}

// camel is "CopyUp" of "copy-up".
func camel(name string) string {
	var b strings.Builder
	up := true
	for _, r := range strings.ToValidUTF8(name, "") {
		switch {
		case !unicode.IsLetter(r) && !unicode.IsDigit(r):
			up = true
		case up:
			b.WriteRune(unicode.ToUpper(r))
			up = false
		default:
			b.WriteRune(r)
		}
	}
	if b.Len() == 0 || !unicode.IsUpper([]rune(b.String())[0]) {
		return "Suite" + b.String()
	}
	return b.String()
}

// benchWord replaces what has a meaning in the name of a benchmark.
func benchWord(text string) string {
	if text == "" {
		return "_"
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || unicode.IsControl(r) || r == '/' {
			return '_'
		}
		return r
	}, strings.ToValidUTF8(text, "_"))
}

// benchUnit is the unit of a metric as benchstat groups it: "first-sec/op",
// "written-B/op".
func benchUnit(metric, unit string) string {
	name := benchWord(metric)
	switch unit {
	case bench.Seconds:
		return name + "-sec/op"
	case bench.Share:
		return name + "-ratio"
	case bench.PerSecond:
		return name + "/sec"
	case bench.Bytes:
		return name + "-B/op"
	case bench.Inodes, bench.Count, "":
		if _, err := strconv.ParseFloat(name, 64); err == nil {
			name = "metric-" + name
		}
		return name + "/op"
	}
	return name + "-" + benchWord(unit)
}
