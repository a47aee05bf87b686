package report

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/bench"
)

func TestTheTextOfARealReport(t *testing.T) {
	var b strings.Builder
	require.NoError(t, Text(&b, sampleReport(t), 0))
	requireGolden(t, "report.txt", b.String())
}

func TestNoLineIsWiderThanTheTerminal(t *testing.T) {
	reports := hostileReports()
	reports["sample"], reports["large"] = sampleReport(t), largeReport()
	for name, r := range reports {
		for _, width := range []int{40, 80, 100, 200} {
			var b strings.Builder
			require.NoError(t, Text(&b, r, width))
			for _, line := range strings.Split(b.String(), "\n") {
				require.LessOrEqual(t, utf8.RuneCountInString(line), width, "%s: %q", name, line)
				require.NotContains(t, line, "NaN")
				for _, c := range line {
					require.True(t, unicode.IsPrint(c), "%s: %q", name, line)
				}
			}
		}
	}
}

func TestEqualReasonsAreListedOnce(t *testing.T) {
	r := newReport()
	for _, reason := range []string{"no dir-123 on it", "no dir-77 on it", "something else"} {
		one := result("read/find", "aufs", bench.Seconds)
		one.Metrics, one.Skipped = nil, reason
		r.Results = append(r.Results, one)
	}
	all := leftOuts(r)
	require.Len(t, all, 2)
	require.Equal(t, leftOut{"ext4", "aufs", "no dir-123 on it", 2}, *all[0])
	require.Equal(t, 1, all[1].Cases)
}

func TestAReasonShowsTheLastNameOfALongPathOnly(t *testing.T) {
	require.Equal(t, "mount on …/dir: no such file, see /etc/x", shortPaths("mount on /a/long/path/dir: no such file, see /etc/x"))
}

func TestSubjectsAreInTheOrderOfTheirDrivers(t *testing.T) {
	require.Equal(t,
		[]string{"overlay2", "overlay2+metacopy", "btrfs", "vfs", "containerd-overlayfs", "hardlinks", "bare"},
		kindsOf(newReport()).sort([]string{"bare", "overlay2", "hardlinks", "containerd-overlayfs", "btrfs", "vfs", "overlay2+metacopy"}))
}

func TestValuesHaveThreeDigitsAndAUnit(t *testing.T) {
	for _, c := range []struct {
		value float64
		unit  string
		want  string
	}{
		{0.00152, bench.Seconds, "1.52 ms"},
		{0.0009999, bench.Seconds, "1.00 ms"},
		{123.4, bench.Seconds, "123 s"},
		{2e-5, bench.Seconds, "20.0 µs"},
		{0, bench.Seconds, "0 ns"},
		{-512, bench.Bytes, "-512 B"},
		{48512, bench.Bytes, "47.4 KiB"},
		{0.5, bench.Share, "50.0 %"},
		{1.0625, bench.Inodes, "1.06"},
		{1234, bench.PerSecond, "1234/s"},
		{1e300, bench.Seconds, "1e+300 s"},
	} {
		require.Equal(t, c.want, formatValue(c.value, c.unit))
	}
}

func TestAResultWithFewSamplesHasNoInterval(t *testing.T) {
	few := summarize(bench.Metric{Samples: []float64{1, 2, 3, 4, 5}}, 5)
	require.False(t, few.bounded)
	require.Equal(t, "±?", formatSpread(few))
	enough := summarize(bench.Metric{Samples: []float64{1, 2, 3, 4, 5, 6}}, 6)
	require.True(t, enough.bounded)
	require.Equal(t, 3.5, enough.median)
}

func TestSamplesOfFewRoundsProveNothingIfTheRoundsOverlap(t *testing.T) {
	// 96 samples of three rounds: within a round they are alike, and the rounds
	// differ as much as the two subjects do.
	samples := func(rounds ...float64) *summary {
		m := bench.Metric{}
		for i, value := range rounds {
			m.Samples = append(m.Samples, around(value, 32, uint64(i)+uint64(value*100))...)
		}
		return summarize(m, len(rounds))
	}
	a, b := samples(1, 1.5, 2), samples(1.2, 1.7, 2.2)
	require.Less(t, pValue(a.sorted, b.sorted), alpha)
	require.False(t, differ(a, b))
	require.True(t, differ(a, samples(5, 6, 7)))
}
