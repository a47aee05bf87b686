package report

import (
	"math"
	"slices"
)

// leastGain is the ratio of geometric means below which nobody would choose by
// it, however sure it is.
const leastGain = 1.03

// A contest compares subjects in the cases of one kind of work in one place.
// Each of its subjects was measured in each of its cases.
type contest struct {
	place, work string
	kinds       kinds
	cases       []*caseInfo
	subjects    []string
	results     map[string][]*summary // by subject, in the order of cases
	costs       map[string][]float64  // lower is better; all are positive
	// differs caches whether two subjects differ in each case, as the test takes
	// long.
	differs map[[2]string][]bool
}

// contests returns those of a place, in the order in which the cases come.
func (x *index) contests(place string) []*contest {
	var works []string
	byWork := map[string][]*caseInfo{}
	for _, c := range x.cases {
		if len(x.measured(place, c)) > 0 {
			w := workOf(c)
			works = appendNew(works, w)
			byWork[w] = append(byWork[w], c)
		}
	}
	var all []*contest
	for _, w := range works {
		if c := x.contest(place, w, byWork[w]); c != nil {
			all = append(all, c)
		}
	}
	return all
}

// contest returns nil where no driver was measured. A driver that misses more
// than half of the cases takes no part, so that it does not keep the others
// from being compared.
func (x *index) contest(place, work string, cases []*caseInfo) *contest {
	c := &contest{place: place, work: work, kinds: x.kinds, results: map[string][]*summary{}, costs: map[string][]float64{}, differs: map[[2]string][]bool{}}
	drivers := x.driversOf(place, cases)
	if len(drivers) == 0 {
		return nil
	}
	c.cases = x.commonCases(place, cases, drivers)
	if len(c.cases) == 0 {
		c.cases = x.commonCases(place, cases, drivers[:1])
	}
	for _, s := range x.subjects {
		if len(x.commonCases(place, c.cases, []string{s})) == len(c.cases) {
			c.subjects = append(c.subjects, s)
		}
	}
	for _, one := range c.cases {
		c.addCase(x, one)
	}
	return c
}

// driversOf returns the drivers without options that have a result in at least
// half of the cases, or the one that has most.
func (x *index) driversOf(place string, cases []*caseInfo) []string {
	var found []string
	most, best := 0, ""
	for _, s := range x.subjects {
		if !x.kinds.isChoice(s) {
			continue
		}
		n := len(x.commonCases(place, cases, []string{s}))
		if n > most {
			most, best = n, s
		}
		if 2*n >= len(cases) {
			found = append(found, s)
		}
	}
	if len(found) == 0 && best != "" {
		found = []string{best}
	}
	return found
}

func (x *index) commonCases(place string, cases []*caseInfo, subjects []string) []*caseInfo {
	var common []*caseInfo
	for _, c := range cases {
		missing := slices.ContainsFunc(subjects, func(s string) bool { return x.main(place, c, s) == nil })
		if !missing {
			common = append(common, c)
		}
	}
	return common
}

// addCase adds the results and costs of one case.
func (c *contest) addCase(x *index, one *caseInfo) {
	least, most := math.Inf(1), 0.0
	for _, s := range c.subjects {
		r := x.main(c.place, one, s)
		c.results[s] = append(c.results[s], r)
		if r.median > 0 {
			least, most = min(least, r.median), max(most, r.median)
		}
	}
	for _, s := range c.subjects {
		r := x.main(c.place, one, s)
		c.costs[s] = append(c.costs[s], costOf(r, least, most))
	}
}

// costOf is a value as something to be kept low. A geometric mean takes
// positive values only, so what is zero or less counts as a thousandth of the
// largest value of the case, or as the least positive one if that is lower.
func costOf(r *summary, least, most float64) float64 {
	v := r.median
	if v <= 0 {
		v = min(least, most/1000)
	}
	if isMoreBetter(r.unit) {
		v = 1 / v
	}
	if v <= 0 || !isFinite(v) {
		return 1
	}
	return v
}

// times is how many times what b needs a needs: the geometric mean over all
// cases.
func (c *contest) times(a, b string) float64 { return c.mean(a, b, nil) }

// mean counts the ratio of a case as 1 where counts says no.
func (c *contest) mean(a, b string, counts func(i int) bool) float64 {
	var ratios []float64
	for i := range c.cases {
		ratio := c.costs[a][i] / c.costs[b][i]
		switch {
		case counts != nil && !counts(i):
			ratio = 1
		case !isFinite(ratio) || ratio > 1e30:
			ratio = 1e30
		case ratio < 1e-30:
			ratio = 1e-30
		}
		ratios = append(ratios, ratio)
	}
	return geometricMean(ratios)
}

// beats reports whether a is better than b beyond the noise: a case in which
// the two do not differ counts as a tie.
func (c *contest) beats(a, b string) bool {
	differs := c.differences(a, b)
	return c.mean(b, a, func(i int) bool { return differs[i] }) > leastGain
}

// differences returns for each case whether two subjects differ beyond the
// noise.
func (c *contest) differences(a, b string) []bool {
	if a > b {
		a, b = b, a
	}
	key := [2]string{a, b}
	if c.differs[key] == nil {
		for i := range c.cases {
			c.differs[key] = append(c.differs[key], differ(c.results[a][i], c.results[b][i]))
		}
	}
	return c.differs[key]
}

// losses is the number of cases in which a is worse than b beyond the noise.
func (c *contest) losses(a, b string) (n int) {
	for i, differs := range c.differences(a, b) {
		if differs && c.costs[a][i] > c.costs[b][i] {
			n++
		}
	}
	return n
}

// tooFew reports whether no case has enough samples of both to tell a
// difference.
func (c *contest) tooFew(a, b string) bool {
	for i := range c.cases {
		if isEnough(c.results[a][i], c.results[b][i]) {
			return false
		}
	}
	return true
}

// best returns the one of names that needs least, empty without names.
func (c *contest) best(names []string) string {
	best := ""
	for _, s := range names {
		if best == "" || c.times(s, best) < 1 {
			best = s
		}
	}
	return best
}

// drivers may be recommended as they are. Those that copy the whole image are
// left out where the numbers do not show what that costs, unless there is no
// other.
func (c *contest) drivers() []string {
	var all, sharing []string
	for _, s := range c.subjects {
		if !c.kinds.isChoice(s) {
			continue
		}
		all = append(all, s)
		if !c.kinds.isCopying(s) {
			sharing = append(sharing, s)
		}
	}
	if containsPrepare(c.work) || len(sharing) == 0 {
		return all
	}
	return sharing
}

// unit is the unit of all cases, empty if they have several.
func (c *contest) unit() string {
	unit := c.results[c.subjects[0]][0].unit
	for _, s := range c.subjects {
		for _, r := range c.results[s] {
			if r.unit != unit {
				return ""
			}
		}
	}
	return unit
}
