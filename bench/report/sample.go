package report

import (
	"math"
	"slices"

	"golang.org/x/perf/benchmath"

	"github.com/layerkeep/layerkeep/bench"
)

const (
	confidence = 0.95
	alpha      = 0.05
	// fewestSamples is what the Mann-Whitney U test needs on each side: with three,
	// no difference has p < 0.05.
	fewestSamples = 4
)

// A summary is one metric of one result.
type summary struct {
	metric, unit string
	// samples in the order in which they were taken; there is at least one.
	samples []float64
	sorted  []float64
	rounds  int
	median  float64
	// lo and hi are the ends of the confidence interval of the median, if it is
	// bounded: with few samples it is not.
	lo, hi  float64
	bounded bool
}

func (s *summary) n() int { return len(s.samples) }

// summarize returns nil for a metric without samples.
func summarize(m bench.Metric, rounds int) *summary {
	s := &summary{metric: m.Name, unit: m.Unit, rounds: rounds}
	for _, v := range m.Samples {
		if isFinite(v) {
			s.samples = append(s.samples, v)
		}
	}
	if len(s.samples) == 0 {
		return nil
	}
	s.sorted = slices.Sorted(slices.Values(s.samples))
	sum := benchmath.AssumeNothing.Summary(sampleOf(s.sorted), confidence)
	s.median, s.lo, s.hi = sum.Center, sum.Lo, sum.Hi
	s.bounded = isFinite(s.lo) && isFinite(s.hi)
	if !isFinite(s.median) { // the mean of two huge numbers
		s.median = s.samples[0]
	}
	return s
}

// sampleOf takes sorted values.
func sampleOf(sorted []float64) *benchmath.Sample {
	return &benchmath.Sample{Values: sorted, Thresholds: &benchmath.DefaultThresholds}
}

func isFinite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// spread is half of the confidence interval as a share of the median: the wider
// half. ok is false where that says nothing.
func (s *summary) spread() (share float64, ok bool) {
	if !s.bounded {
		return 0, false
	}
	wide := max(s.hi-s.median, s.median-s.lo)
	if wide == 0 {
		return 0, true
	}
	share = wide / math.Abs(s.median)
	return share, isFinite(share)
}

// perRound returns the median of each round, nil where the samples do not tell
// which round they are of.
func (s *summary) perRound() []float64 {
	if s.rounds < 1 || s.rounds > len(s.samples) || len(s.samples)%s.rounds != 0 {
		return nil
	}
	var medians []float64
	for part := range slices.Chunk(s.samples, len(s.samples)/s.rounds) {
		medians = append(medians, medianOf(part))
	}
	return medians
}

func medianOf(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	v := slices.Sorted(slices.Values(values))
	mid := len(v) / 2
	if len(v)%2 == 1 {
		return v[mid]
	}
	return v[mid-1]/2 + v[mid]/2
}

// pValue is that of the Mann-Whitney U test for two lists of sorted values, 1
// where it cannot tell.
func pValue(a, b []float64) float64 {
	if len(a) == 0 || len(b) == 0 {
		return 1
	}
	p := benchmath.AssumeNothing.Compare(sampleOf(a), sampleOf(b)).P
	if !isFinite(p) {
		return 1
	}
	return p
}

// differ reports whether two results differ beyond the noise.
func differ(a, b *summary) bool {
	if areCounts(a, b) {
		return countsDiffer(a, b)
	}
	return isEnough(a, b) && pValue(a.sorted, b.sorted) < alpha && isSupported(a, b)
}

// isEnough reports whether there are enough samples to tell a difference.
func isEnough(a, b *summary) bool {
	return areCounts(a, b) || a.n() >= fewestSamples && b.n() >= fewestSamples
}

// areCounts reports whether the results are numbers of inodes, which have no
// noise: the same layer takes as many each time, so one sample says all.
func areCounts(a, b *summary) bool { return a.unit == bench.Inodes && b.unit == bench.Inodes }

// countsDiffer reports whether all samples of one are below all of the other.
func countsDiffer(a, b *summary) bool {
	return a.sorted[len(a.sorted)-1] < b.sorted[0] || b.sorted[len(b.sorted)-1] < a.sorted[0]
}

// isSupported reports whether a difference that the test has found also shows
// in the intervals of the medians and in the single rounds.
func isSupported(a, b *summary) bool {
	if a.bounded && b.bounded && a.lo <= b.hi && b.lo <= a.hi {
		return false
	}
	ra, rb := a.perRound(), b.perRound()
	switch {
	case ra == nil || rb == nil:
		return true
	case len(ra) >= fewestSamples && len(rb) >= fewestSamples:
		return pValue(slices.Sorted(slices.Values(ra)), slices.Sorted(slices.Values(rb))) < alpha
	}
	return slices.Max(ra) < slices.Min(rb) || slices.Max(rb) < slices.Min(ra)
}

// isMoreBetter reports whether a higher value of a unit is the better one.
func isMoreBetter(unit string) bool { return unit == bench.PerSecond || unit == bench.Share }

// geometricMean returns 0 without values; all must be positive.
func geometricMean(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sum := 0.0
	for _, v := range values {
		sum += math.Log(v)
	}
	return math.Exp(sum / float64(len(values)))
}
