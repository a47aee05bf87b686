package report

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/bench"
)

// manyCases is a report with 40 cases of 10 samples; shift multiplies those of
// one case.
func manyCases(seed uint64, shift map[int]float64) *bench.Report {
	r := newReport()
	for i := range 40 {
		value := 1.0
		if f := shift[i]; f > 0 {
			value = f
		}
		r.Results = append(r.Results, result(fmt.Sprintf("read/case%d", i), "overlay2", bench.Seconds, around(value, 10, seed+uint64(i))...))
	}
	return r
}

func changed(c *Comparison, how string) []string {
	var names []string
	for _, one := range c.Changes {
		if one.Result == how {
			names = append(names, one.Case)
		}
	}
	return names
}

func TestAShiftOf20PercentIsFound(t *testing.T) {
	c, err := Compare(manyCases(1, nil), manyCases(1000, map[int]float64{3: 1.2, 5: 0.8}))
	require.NoError(t, err)
	require.Equal(t, []string{"read/case3"}, changed(c, Worse))
	require.Equal(t, []string{"read/case5"}, changed(c, Better))
	require.Equal(t, 40, c.Tests)
	require.InDelta(t, 1.2, *c.Changes[0].Ratio, 0.02)
	require.Less(t, *c.Changes[0].Q, alpha)
	require.Len(t, changed(c, Unchanged), 38)
}

// Where nothing changed, the correction lets a false change through in at most
// one of twenty comparisons, however many cases they have.
func TestNoiseIsNotReported(t *testing.T) {
	const runs = 60
	wrong := 0
	for seed := range uint64(runs) {
		c, err := Compare(manyCases(seed*100, nil), manyCases(50_000+seed*100, nil))
		require.NoError(t, err)
		if len(changed(c, Worse))+len(changed(c, Better)) > 0 {
			wrong++
		}
	}
	require.LessOrEqual(t, wrong, runs/20)
}

func TestMoreIsBetterForRates(t *testing.T) {
	c, err := Compare(with(newReport(), result("w/x", "vfs", bench.PerSecond, around(1, 10, 1)...)), with(newReport(), result("w/x", "vfs", bench.PerSecond, around(2, 10, 2)...)))
	require.NoError(t, err)
	require.Equal(t, Better, c.Changes[0].Result)
}

func TestThreeSamplesAreTooFewToCompare(t *testing.T) {
	c, err := Compare(with(newReport(), result("w/x", "vfs", bench.Seconds, 1, 1, 1)), with(newReport(), result("w/x", "vfs", bench.Seconds, around(9, 10, 2)...)))
	require.NoError(t, err)
	require.Equal(t, TooFew, c.Changes[0].Result)
	require.Nil(t, c.Changes[0].P)
	require.Nil(t, c.Changes[0].Old.Low)
	require.Zero(t, c.Tests)
}

// The example is from Benjamini and Hochberg (1995), section 3.2: of 15 tests,
// four are significant at 0.05.
func TestTheCorrectionIsThatOfBenjaminiAndHochberg(t *testing.T) {
	ps := []float64{0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0000}
	c := &Comparison{}
	for i := range ps {
		c.Changes = append(c.Changes, Change{P: &ps[i], supported: true, Unit: bench.Seconds, New: Value{Median: 1}, Result: Unchanged})
	}
	c.correct()
	require.Len(t, changed(c, Worse), 4)
	require.InDelta(t, 0.0015, *c.Changes[0].Q, 1e-9)
	require.InDelta(t, 0.0095*15/4, *c.Changes[3].Q, 1e-9)
}

func TestWhatIsOnlyInOneReportAndWhatDiffersIsSaid(t *testing.T) {
	a := with(newReport(), result("w/x", "vfs", bench.Seconds, around(1, 10, 1)...), result("w/old", "vfs", bench.Seconds, 1))
	b := with(newReport(), result("w/x", "vfs", bench.Seconds, around(1, 10, 2)...), result("w/new", "btrfs", bench.Seconds, 1))
	a.Machine.Kernel, b.Machine.Kernel = "6.1", "6.18"
	b.Places[0].Options = "noatime"
	c, err := Compare(a, b)
	require.NoError(t, err)
	require.Equal(t, []Missing{{"ext4", "vfs", "w/old"}}, c.OnlyOld)
	require.Equal(t, []Missing{{"ext4", "btrfs", "w/new"}}, c.OnlyNew)
	require.Equal(t, []string{"kernel: 6.1, now 6.18", "mount options of ext4: unknown, now noatime"}, c.Differences)
	require.Equal(t, "vfs", c.Means[0].Subject)
	require.InDelta(t, 1, c.Means[0].Ratio, 0.02)
}

func TestReportsWithoutACommonCaseAreAnError(t *testing.T) {
	_, err := Compare(with(newReport(), result("w/x", "vfs", bench.Seconds, 1)), newReport())
	require.ErrorIs(t, err, ErrNothingInCommon)
}

func TestTheTextOfAComparison(t *testing.T) {
	before := sampleReport(t)
	after := sampleReport(t)
	after.Machine.Kernel = "6.19.0"
	for i := range after.Results {
		if r := &after.Results[i]; r.Subject == "btrfs" {
			for j := range r.Metrics {
				for k := range r.Metrics[j].Samples {
					r.Metrics[j].Samples[k] *= 3
				}
			}
		}
	}
	after.Results = after.Results[2:]
	c, err := Compare(before, after)
	require.NoError(t, err)
	var b strings.Builder
	require.NoError(t, WriteComparison(&b, c, 80))
	requireGolden(t, "comparison.txt", b.String())
	_, err = json.Marshal(c)
	require.NoError(t, err)
}

func TestStrangeReportsCanBeCompared(t *testing.T) {
	for name, r := range hostileReports() {
		c, err := Compare(r, r)
		if err != nil {
			require.ErrorIs(t, err, ErrNothingInCommon, name)
			continue
		}
		_, err = json.Marshal(c)
		require.NoError(t, err, name)
		require.NoError(t, WriteComparison(new(strings.Builder), c, 0))
	}
}

// The same layer takes as many inodes each time: one sample says all.
func TestNumbersOfInodesNeedOneSample(t *testing.T) {
	of := func(first, second float64) *bench.Report {
		r := &bench.Report{Format: bench.Format}
		for subject, n := range map[string]float64{"overlay2": first, "vfs": second} {
			r.Results = append(r.Results, bench.Result{
				Suite: "inodes", Case: "image", Place: "ext4", Subject: subject, Rounds: 1,
				Metrics: []bench.Metric{{Name: "inodes", Unit: bench.Inodes, Samples: []float64{n}}},
			})
		}
		return r
	}
	c, err := Compare(of(1300, 3900), of(1300, 1300))
	require.NoError(t, err)
	got := map[string]string{}
	for _, change := range c.Changes {
		got[change.Subject] = change.Result
	}
	require.Equal(t, map[string]string{"overlay2": Unchanged, "vfs": Better}, got)
	var text strings.Builder
	require.NoError(t, WriteComparison(&text, c, 80))
	require.Contains(t, text.String(), "counted")
	for _, advice := range Verdict(of(1300, 3900)) {
		require.Equal(t, "overlay2", advice.Winner)
		require.Empty(t, advice.Equal)
	}
}
