package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/layerkeep/layerkeep/bench"
)

// A figure shows one metric of one case, or of cases that differ in one number,
// with a panel for each place.
type figure struct {
	Title  string
	Metric string // in words
	Scale  string
	Panels []panel
	Legend []legendEntry
	Rows   []dataRow
}

// A block is everything about a case: the main metric, and the others.
type block struct {
	Title string
	Main  figure
	More  []figure
}

// A dataRow has the numbers of one result.
type dataRow struct {
	Place, Case, Subject, Median, Spread, Interval string
	N                                              string
}

// A sweep is a list of cases that differ in one number only; just one case is a
// sweep without a parameter.
type sweep struct {
	title string
	param string
	cases []*caseInfo
	at    []float64 // the number of each case
}

// sweeps groups the cases of a suite.
func sweeps(cases []*caseInfo) []sweep {
	var names []string
	byName := map[string][]*caseInfo{}
	for _, c := range cases {
		names = appendNew(names, c.plain)
		byName[c.plain] = append(byName[c.plain], c)
	}
	var all []sweep
	for _, name := range names {
		all = append(all, sweepsOf(byName[name])...)
	}
	return all
}

// sweepsOf groups the cases of one name by the parameter that has most values.
func sweepsOf(cases []*caseInfo) []sweep {
	param := sweptParam(cases)
	var keys []string
	byKey := map[string]*sweep{}
	for _, c := range cases {
		key, title := c.name, c.label()
		v, ok := parseNumber(c.params.Get(param))
		if ok && param != "" {
			key, title = "\x00"+otherParams(c, param), strings.TrimSpace(c.plain+" "+otherParams(c, param))
		}
		if byKey[key] == nil {
			keys = append(keys, key)
			byKey[key] = &sweep{title: title, param: param}
		}
		s := byKey[key]
		s.cases, s.at = append(s.cases, c), append(s.at, v)
	}
	var all []sweep
	for _, k := range keys {
		s := byKey[k]
		if len(s.cases) == 1 {
			all = append(all, sweep{title: s.cases[0].label(), cases: s.cases})
			continue
		}
		all = append(all, s.sorted())
	}
	return all
}

func (s *sweep) sorted() sweep {
	order := make([]int, len(s.cases))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(s.at[i], s.at[j]) })
	title := s.title + " by " + s.param
	if s.title == s.param {
		title = "by " + s.param
	}
	sorted := sweep{title: title, param: s.param}
	for _, i := range order {
		sorted.cases, sorted.at = append(sorted.cases, s.cases[i]), append(sorted.at, s.at[i])
	}
	return sorted
}

// sweptParam is the parameter with most numeric values, empty if none has two.
func sweptParam(cases []*caseInfo) string {
	values := map[string][]string{}
	best := ""
	for _, c := range cases {
		for _, p := range c.params {
			if _, ok := parseNumber(p.Value); ok {
				values[p.Name] = appendNew(values[p.Name], p.Value)
			}
			if len(values[p.Name]) > max(len(values[best]), 1) {
				best = p.Name
			}
		}
	}
	return best
}

func otherParams(c *caseInfo, param string) string {
	var parts []string
	for _, p := range c.params {
		if p.Name != param {
			parts = append(parts, p.Name+"="+p.Value)
		}
	}
	return strings.Join(parts, " ")
}

// blocks makes all figures of a suite.
func (p *page) blocks(suite string) []block {
	var cases []*caseInfo
	for _, c := range p.cases {
		if c.suite == suite && c.main != "" {
			cases = append(cases, c)
		}
	}
	var all []block
	for _, s := range sweeps(cases) {
		main := s.cases[0].main
		b := block{Title: s.title, Main: p.figure(s, main)}
		for _, m := range p.otherMetrics(s, main) {
			b.More = append(b.More, p.figure(s, m))
		}
		all = append(all, b)
	}
	return all
}

func (p *page) otherMetrics(s sweep, main string) []string {
	var names []string
	for _, place := range p.places {
		for _, c := range s.cases {
			for _, subject := range p.subjects {
				if one := p.cell(place, c, subject); one != nil {
					for _, m := range one.metrics {
						names = appendNew(names, m.metric)
					}
				}
			}
		}
	}
	return slices.DeleteFunc(names, func(n string) bool { return n == main })
}

// figure makes the panels of one metric. All of them share their axes.
func (p *page) figure(s sweep, metric string) figure {
	f := figure{Title: s.title, Metric: metricWords(metric)}
	var results []*summary
	var subjects []string
	for _, place := range p.places {
		for _, subject := range p.subjects {
			for _, c := range s.cases {
				if one := p.cell(place, c, subject).metric(metric); one != nil {
					results = append(results, one)
					f.Rows = append(f.Rows, newDataRow(place, c, subject, one))
					subjects = appendNew(subjects, subject)
				}
			}
		}
	}
	value := newAxis(results, s.param != "" || isWide(results))
	for _, place := range p.places {
		if s.param == "" {
			f.Panels = p.appendBars(f.Panels, s, metric, place, value)
		} else {
			f.Panels = p.appendLines(f.Panels, s, metric, place, value)
		}
	}
	if s.param != "" {
		f.Legend = p.legend(subjects)
		if value.log {
			f.Scale = "logarithmic scale"
		}
	}
	return f
}

// isWide reports whether short bars could not be seen on a linear axis.
func isWide(results []*summary) bool {
	least, most := farthest, 0.0
	for _, s := range results {
		if s.median > 0 {
			least = min(least, s.median)
		}
		most = max(most, s.median)
	}
	return most/least > 30
}

func newDataRow(place string, c *caseInfo, subject string, s *summary) dataRow {
	r := dataRow{
		Place: place, Case: c.label(), Subject: subject, N: thousands(s.n()),
		Median: formatValue(s.median, s.unit), Spread: formatSpread(s), Interval: "too few samples",
	}
	if s.bounded {
		r.Interval = formatValue(s.lo, s.unit) + " to " + formatValue(s.hi, s.unit)
	}
	return r
}

// metricMeanings says what the metrics of the suites mean.
var metricMeanings = map[string]string{
	"first": "time of the first operation", "second": "time of the same operation once more", "each": "time of each operation",
	"all": "time of all operations together", "time": "time of the work", "sync": "time to sync afterwards",
	"written": "bytes written to the device", "read": "bytes read from the device, for each operation",
	"space": "disk space taken", "inodes": "inodes taken", "size": "size of the diff", "made": "time to make the image",
	"shared": "share of the data that is shared with the image", "containers": "containers until the disk is full",
	"device-reads": "bytes that the second container reads from the device", "resident": "bytes that the second container adds to the page cache",
	"start": "time to prepare and mount", "prepare": "time to prepare", "mount": "time to mount", "unmount": "time to unmount",
	"commit": "time to commit", "remove": "time until a removal returns", "durable": "time until the layer is on the disk",
	"unpacked": "time until the layer is unpacked", "diff": "time of the diff", "returns": "time until the removal returns",
	"freed": "time until the space is free", "ready": "time until all are ready", "stop": "time to stop and remove", "poll": "time to ask all for their usage",
}

// metricWords says what a metric means; an unknown one has its name only.
func metricWords(metric string) string { return cmp.Or(metricMeanings[metric], metric) }

func axisTitle(unit string, log bool) string {
	title := map[string]string{bench.Seconds: "time", bench.Bytes: "bytes", bench.Inodes: "inodes", bench.Share: "share", bench.PerSecond: "per second"}[unit]
	if title == "" {
		title = "value"
	}
	if log {
		title += ", logarithmic scale"
	}
	return title
}

func describe(parts []string) string {
	const most = 60
	if len(parts) > most {
		parts = append(slices.Clone(parts[:most]), fmt.Sprintf("and %d more", len(parts)-most))
	}
	return strings.Join(parts, "; ") + "."
}
