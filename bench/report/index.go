package report

import (
	"slices"
	"strings"

	"github.com/layerkeep/layerkeep/bench"
)

// An index finds the results of a report. Everything is in the order of the
// report, but for subjects.
type index struct {
	report *bench.Report
	places []string
	suites []string
	// subjects are in the order of kinds.sort.
	subjects []string
	kinds    kinds
	cases    []*caseInfo
	cells    map[cellKey]*cell
}

type cellKey struct{ place, name, subject string }

// A caseInfo is a case with its parameters.
type caseInfo struct {
	suite, name string // name has the suite and the parameters in it
	plain       string // the name without parameters
	params      bench.Params
	// main is the metric that the case is about, the first one.
	main string
}

// A cell is a result that has something measured.
type cell struct {
	rounds  int
	note    string
	metrics []*summary
}

func (c *cell) metric(name string) *summary {
	if c == nil {
		return nil
	}
	for _, s := range c.metrics {
		if s.metric == name {
			return s
		}
	}
	return nil
}

func newIndex(r *bench.Report) *index {
	r = cleaned(r)
	x := &index{report: r, kinds: kindsOf(r), cells: map[cellKey]*cell{}}
	for _, p := range r.Places {
		x.places = appendNew(x.places, p.Name)
	}
	known := map[string]*caseInfo{}
	for i := range r.Results {
		x.add(&r.Results[i], known)
	}
	x.subjects = x.kinds.sort(x.subjects)
	return x
}

func (x *index) add(r *bench.Result, known map[string]*caseInfo) {
	x.places = appendNew(x.places, r.Place)
	x.suites = appendNew(x.suites, r.Suite)
	x.subjects = appendNew(x.subjects, r.Subject)
	name := r.Name()
	c := known[name]
	if c == nil {
		c = &caseInfo{suite: r.Suite, name: name, plain: r.Case, params: r.Params}
		known[name] = c
		x.cases = append(x.cases, c)
	}
	key := cellKey{r.Place, name, r.Subject}
	if r.Skipped != "" || x.cells[key] != nil {
		return
	}
	one := &cell{rounds: r.Rounds, note: r.Note}
	for _, m := range r.Metrics {
		if s := summarize(m, r.Rounds); s != nil && one.metric(m.Name) == nil {
			one.metrics = append(one.metrics, s)
		}
	}
	if len(one.metrics) == 0 {
		return
	}
	x.cells[key] = one
	if c.main == "" {
		c.main = one.metrics[0].metric
	}
}

func appendNew(list []string, name string) []string {
	if slices.Contains(list, name) {
		return list
	}
	return append(list, name)
}

func (x *index) cell(place string, c *caseInfo, subject string) *cell {
	return x.cells[cellKey{place, c.name, subject}]
}

// main is the main metric of a case for a subject, nil if it was not measured.
func (x *index) main(place string, c *caseInfo, subject string) *summary {
	return x.cell(place, c, subject).metric(c.main)
}

// casesOf are those of a suite that have a result in a place.
func (x *index) casesOf(place, suite string) []*caseInfo {
	var found []*caseInfo
	for _, c := range x.cases {
		if c.suite == suite && len(x.measured(place, c)) > 0 {
			found = append(found, c)
		}
	}
	return found
}

// measured are the subjects that have a result of a case in a place.
func (x *index) measured(place string, c *caseInfo) []string {
	var found []string
	for _, s := range x.subjects {
		if x.cell(place, c, s) != nil {
			found = append(found, s)
		}
	}
	return found
}

// furtherMetrics are the metrics of cases that are not the main ones of all of
// them.
func (x *index) furtherMetrics(place string, cases []*caseInfo) []string {
	var names []string
	for _, c := range cases {
		for _, s := range x.subjects {
			if one := x.cell(place, c, s); one != nil {
				for _, m := range one.metrics {
					if m.metric != c.main {
						names = appendNew(names, m.metric)
					}
				}
			}
		}
	}
	return names
}

// label is a case in a table of its suite: "size=4KiB", "depth layers=50".
func (c *caseInfo) label() string {
	parts := []string{c.plain}
	for i, p := range c.params {
		if i == 0 && p.Name == c.plain {
			parts = nil
		}
		parts = append(parts, p.Name+"="+p.Value)
	}
	return strings.Join(parts, " ")
}
