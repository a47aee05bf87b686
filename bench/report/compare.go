package report

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/layerkeep/layerkeep/bench"
)

// ErrNothingInCommon says that no case was measured in both of two reports.
var ErrNothingInCommon = errors.New("the two reports have no case in common")

// A Comparison says what changed between two reports.
//
// Each metric is tested by itself, so of a thousand that did not change about
// fifty would have p < 0.05 by chance. Q is the p-value after the correction of
// Benjamini and Hochberg over all tests: of the changes with Q < 0.05, at most
// one in twenty is expected to be false. Holm's correction, which allows no
// false one at all, would hide real changes, as it multiplies p by the number
// of tests, and with five samples on each side p is never less than 0.008.
type Comparison struct {
	// Differences are what differs between the machines, places and programs, in
	// words.
	Differences []string `json:"differences,omitempty"`
	// Tests is the number of tests that the correction is for.
	Tests int `json:"tests"`
	// Changes has every metric that is in both, the changed ones first.
	Changes []Change `json:"changes"`
	// Means has the change of each subject over all cases.
	Means []Mean `json:"means"`
	// OnlyOld and OnlyNew are results that only one of the two has.
	OnlyOld []Missing `json:"only_old,omitempty"`
	OnlyNew []Missing `json:"only_new,omitempty"`
}

// The ways in which a metric can have changed.
const (
	Better     = "better"
	Worse      = "worse"
	Unchanged  = "no change beyond the noise"
	TooFew     = "too few samples"
	OtherUnits = "units differ"
)

// A Change is one metric in both reports.
type Change struct {
	Place   string `json:"place"`
	Case    string `json:"case"`
	Subject string `json:"subject"`
	Metric  string `json:"metric"`
	Unit    string `json:"unit"`
	Old     Value  `json:"old"`
	New     Value  `json:"new"`
	// Ratio is the new median over the old one, nil where one of them is not
	// positive.
	Ratio *float64 `json:"ratio,omitempty"`
	// P is that of the Mann-Whitney U test, Q the corrected one; nil if there was
	// no test: for too few samples, and for numbers of inodes, which have no noise.
	P *float64 `json:"p,omitempty"`
	Q *float64 `json:"q,omitempty"`
	// Result is one of the constants: [Better], [Worse], [Unchanged], [TooFew],
	// [OtherUnits].
	Result string `json:"result"`

	supported bool
}

// A Value is one metric of one result.
type Value struct {
	Median float64 `json:"median"`
	// Low and High are the ends of its 95 % confidence interval, nil where there
	// are too few samples for one.
	Low  *float64 `json:"low,omitempty"`
	High *float64 `json:"high,omitempty"`
	N    int      `json:"n"`
}

// A Mean is the geometric mean, over all places and cases, of the ratios of the
// main metrics of a subject.
type Mean struct {
	Subject string  `json:"subject"`
	Ratio   float64 `json:"ratio"`
	Cases   int     `json:"cases"`
}

// A Missing result is in one of the reports only.
type Missing struct {
	Place   string `json:"place"`
	Subject string `json:"subject"`
	Case    string `json:"case"`
}

// Compare compares two reports, the earlier one first. An error matches
// [ErrNothingInCommon].
func Compare(before, after *bench.Report) (*Comparison, error) {
	a, b := newIndex(before), newIndex(after)
	c := &Comparison{Differences: differences(a.report, b.report), OnlyOld: missing(a, b), OnlyNew: missing(b, a)}
	ratios := map[string][]float64{}
	for _, key := range a.keys() {
		was, is := a.cells[key], b.cells[key]
		if is == nil {
			continue
		}
		for i, m := range was.metrics {
			other := is.metric(m.metric)
			if other == nil {
				continue
			}
			change := newChange(key, m, other)
			c.Changes = append(c.Changes, change)
			if i == 0 && change.Ratio != nil {
				ratios[key.subject] = append(ratios[key.subject], *change.Ratio)
			}
		}
	}
	if len(c.Changes) == 0 {
		return nil, ErrNothingInCommon
	}
	for _, s := range a.subjects {
		if r := ratios[s]; len(r) > 0 {
			c.Means = append(c.Means, Mean{s, geometricMean(r), len(r)})
		}
	}
	c.correct()
	c.sort()
	return c, nil
}

// keys are those of all results, in the order of tables.
func (x *index) keys() []cellKey {
	var all []cellKey
	for _, place := range x.places {
		for _, c := range x.cases {
			for _, s := range x.subjects {
				if key := (cellKey{place, c.name, s}); x.cells[key] != nil {
					all = append(all, key)
				}
			}
		}
	}
	return all
}

func missing(in, from *index) []Missing {
	var all []Missing
	for _, key := range in.keys() {
		if from.cells[key] == nil {
			all = append(all, Missing{key.place, key.subject, key.name})
		}
	}
	return all
}

func newChange(key cellKey, was, is *summary) Change {
	c := Change{
		Place: key.place, Case: key.name, Subject: key.subject, Metric: was.metric, Unit: was.unit,
		Old: valueOf(was), New: valueOf(is), Result: Unchanged,
	}
	if was.unit != is.unit {
		c.Result = OtherUnits
		return c
	}
	if ratio := is.median / was.median; was.median > 0 && is.median > 0 && ratio > 0 && isFinite(ratio) {
		c.Ratio = &ratio
	}
	if areCounts(was, is) {
		if countsDiffer(was, is) {
			c.Result = Worse
			if is.median < was.median {
				c.Result = Better
			}
		}
		return c
	}
	if !isEnough(was, is) {
		c.Result = TooFew
		return c
	}
	p := pValue(was.sorted, is.sorted)
	c.P, c.supported = &p, isSupported(was, is)
	return c
}

func valueOf(s *summary) Value {
	v := Value{Median: s.median, N: s.n()}
	if s.bounded {
		v.Low, v.High = &s.lo, &s.hi
	}
	return v
}

// correct computes Q by Benjamini and Hochberg (1995): the p-value of rank k
// among m is multiplied by m/k, and a lower rank never has a greater Q than a
// higher one.
func (c *Comparison) correct() {
	var tested []*Change
	for i := range c.Changes {
		if c.Changes[i].P != nil {
			tested = append(tested, &c.Changes[i])
		}
	}
	c.Tests = len(tested)
	slices.SortStableFunc(tested, func(x, y *Change) int { return cmp.Compare(*x.P, *y.P) })
	least := 1.0
	for i := len(tested) - 1; i >= 0; i-- {
		one := tested[i]
		least = min(least, *one.P*float64(len(tested))/float64(i+1))
		q := least
		one.Q = &q
		if q < alpha && one.supported && one.Old.Median != one.New.Median {
			one.Result = Worse
			if (one.New.Median < one.Old.Median) != isMoreBetter(one.Unit) {
				one.Result = Better
			}
		}
	}
}

// sort puts what is worse first, then what is better, each the greatest change
// first.
func (c *Comparison) sort() {
	rank := map[string]int{Worse: 0, Better: 1, OtherUnits: 2, Unchanged: 3, TooFew: 4}
	slices.SortStableFunc(c.Changes, func(x, y Change) int {
		return cmp.Or(cmp.Compare(rank[x.Result], rank[y.Result]), cmp.Compare(y.size(), x.size()))
	})
}

// size is how much a metric has changed, up or down; what has no ratio has
// changed most.
func (c Change) size() float64 {
	switch {
	case c.Result != Worse && c.Result != Better:
		return 0
	case c.Ratio == nil:
		return maxChange
	}
	return max(*c.Ratio, 1/(*c.Ratio))
}

const maxChange = 1e300

// differences says what differs beside the results.
func differences(before, after *bench.Report) []string {
	var all []string
	add := func(what, was, is string) {
		if was != is {
			all = append(all, fmt.Sprintf("%s: %s, now %s", what, orUnknown(was), orUnknown(is)))
		}
	}
	m, n := before.Machine, after.Machine
	add("processor", m.CPU, n.CPU)
	add("processors", fmt.Sprint(m.CPUs), fmt.Sprint(n.CPUs))
	add("memory", formatValue(float64(m.Memory), bench.Bytes), formatValue(float64(n.Memory), bench.Bytes))
	add("architecture", m.Arch, n.Arch)
	add("kernel", m.Kernel, n.Kernel)
	add("system", m.OS, n.OS)
	add("virtual machine", fmt.Sprint(m.Virtual), fmt.Sprint(n.Virtual))
	add("version", before.Version, after.Version)
	add("quick run", fmt.Sprint(before.Quick), fmt.Sprint(after.Quick))
	for _, p := range before.Places {
		for _, q := range after.Places {
			if p.Name == q.Name {
				add("file system of "+p.Name, p.FileSystem, q.FileSystem)
				add("mount options of "+p.Name, p.Options, q.Options)
				add("device of "+p.Name, p.Device, q.Device)
				add("reflinks on "+p.Name, fmt.Sprint(p.Reflink), fmt.Sprint(q.Reflink))
			}
		}
	}
	if d := controlDifference(before.Noise, after.Noise); d != "" {
		all = append(all, d)
	}
	return all
}

// controlDifference says that the processor was faster or slower in one of the
// runs, as the control work shows.
func controlDifference(before, after bench.Noise) string {
	was, is := medianOf(before.Control), medianOf(after.Control)
	ratio := is / was
	if was <= 0 || is <= 0 || !isFinite(ratio) || ratio > 0.95 && ratio < 1.05 {
		return ""
	}
	return fmt.Sprintf("control work: %s, now %s, so the machine itself was slower or faster",
		formatValue(was, bench.Seconds), formatValue(is, bench.Seconds))
}
