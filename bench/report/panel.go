package report

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// A panel is one SVG. Its coordinates are pixels at the width that a telephone
// shows it with; wider screens show several panels side by side and not much
// larger.
type panel struct {
	ID          int
	Place       string
	W, H        px
	Title, Desc string
	Grid        []rule
	Labels      []label
	Rects       []rect
	Whiskers    []whisker
	Lines       []polyline
	Marks       []mark
}

type rule struct {
	X1, Y1, X2, Y2 px
	Class          string
}

// A label is text; its anchor is "start", "middle" or "end".
type label struct {
	X, Y                px
	Anchor, Class, Text string
}

type rect struct {
	X, Y, W, H px
	Class      string
}

// A whisker is a confidence interval: a line with a short line across each end.
type whisker struct{ Path, Class string }

type polyline struct{ Points, Class string }

// A mark is the shape that stands for a subject.
type mark struct {
	Path, Class string
}

type legendEntry struct {
	Mark mark
	Name string
}

const (
	panelWidth = 360
	// charWidth is a little more than what a character takes on average.
	charWidth = 6.4
	// mostChars is how many characters fit in a line of a panel with bars.
	mostChars = 53
	colors    = 8
)

// style is the class of a subject's color, which is the same in all panels.
// Drivers come first, so that no two of them share a color before all are
// taken. Variants are drawn hollow.
func (p *page) style(subject string) (class string, shape int) {
	if p.kinds.isBare(subject) {
		return "cb", 0
	}
	if p.styles == nil {
		p.styles = map[string]int{}
		for _, variants := range []bool{false, true} {
			for _, s := range p.subjects {
				if !p.kinds.isBare(s) && p.kinds.isVariant(s) == variants {
					p.styles[s] = len(p.styles)
				}
			}
		}
	}
	i := p.styles[subject]
	class = fmt.Sprintf("c%d", i%colors)
	if p.kinds.isVariant(subject) {
		class += " hollow"
	}
	return class, i % len(shapes)
}

// shapes are corners around a point; the first shape is a circle and has none.
var shapes = [][][2]float64{
	nil,
	{{-3.6, -3.6}, {3.6, -3.6}, {3.6, 3.6}, {-3.6, 3.6}},
	{{0, -4.8}, {4.6, 3.6}, {-4.6, 3.6}},
	{{0, -5.2}, {4.6, 0}, {0, 5.2}, {-4.6, 0}},
	{{0, 4.8}, {4.6, -3.6}, {-4.6, -3.6}},
	{{-1.6, -4.8}, {1.6, -4.8}, {1.6, -1.6}, {4.8, -1.6}, {4.8, 1.6}, {1.6, 1.6}, {1.6, 4.8}, {-1.6, 4.8}, {-1.6, 1.6}, {-4.8, 1.6}, {-4.8, -1.6}, {-1.6, -1.6}},
	{{0, -5}, {4.8, -1.5}, {2.9, 4.1}, {-2.9, 4.1}, {-4.8, -1.5}},
}

func (p *page) mark(subject string, x, y px) mark {
	class, shape := p.style(subject)
	corners := shapes[shape]
	if corners == nil {
		return mark{fmt.Sprintf("M%s %sa4 4 0 1 0 8 0a4 4 0 1 0 -8 0Z", x-4, y), class}
	}
	var b strings.Builder
	for i, c := range corners {
		fmt.Fprintf(&b, "%s%s %s", map[bool]string{true: "M", false: "L"}[i == 0], x+px(c[0]), y+px(c[1]))
	}
	return mark{b.String() + "Z", class}
}

func (p *page) legend(subjects []string) []legendEntry {
	var all []legendEntry
	for _, s := range p.subjects {
		if slices.Contains(subjects, s) {
			all = append(all, legendEntry{p.mark(s, 8, 8), s})
		}
	}
	return all
}

func (p *page) newPanel(place, title string, height float64) panel {
	p.panels++
	return panel{ID: p.panels, Place: place, W: panelWidth, H: px(height), Title: title}
}

// appendBars adds a panel with a bar for each subject, if there is any.
func (p *page) appendBars(panels []panel, s sweep, metric, place string, value *axis) []panel {
	const left, right, top, step = 10.0, 350.0, 8.0, 32.0
	var found []string
	for _, subject := range p.subjects {
		if p.cell(place, s.cases[0], subject).metric(metric) != nil {
			found = append(found, subject)
		}
	}
	if len(found) == 0 {
		return panels
	}
	bottom := top + step*float64(len(found))
	out := p.newPanel(place, fmt.Sprintf("%s, %s, on %s", s.title, metricWords(metric), place), bottom+38)
	at := func(v float64) px { return px(left + (right-left)*value.at(v)) }
	out.horizontalAxis(value, left, right, top, bottom)
	var words []string
	for i, subject := range found {
		y := top + step*float64(i)
		one := p.cell(place, s.cases[0], subject).metric(metric)
		text := fmt.Sprintf("%s %s n=%s", formatValue(one.median, one.unit), formatSpread(one), thousands(one.n()))
		words = append(words, subject+" "+text)
		space := mostChars - utf8.RuneCountInString(text) - 1
		out.Labels = append(out.Labels,
			label{px(left), px(y + 12), "start", "name", cut(subject, space)},
			label{px(right), px(y + 12), "end", "value", text})
		out.bar(p.mark(subject, at(one.median), px(y+22)), one, at, y+22, value)
	}
	out.Desc = describe(words)
	return append(panels, out)
}

// bar draws a bar from zero, or from the left end of a logarithmic axis, to the
// median.
func (out *panel) bar(m mark, one *summary, at func(float64) px, y float64, value *axis) {
	zero := at(0)
	if value.log {
		zero = at(math.SmallestNonzeroFloat64)
	}
	end := at(one.median)
	out.Rects = append(out.Rects, rect{min(zero, end), px(y - 4), max(zero, end) - min(zero, end), 8, m.Class})
	out.Marks = append(out.Marks, m)
	if one.bounded {
		lo, hi, mid := at(one.lo), at(one.hi), px(y)
		out.Whiskers = append(out.Whiskers, whisker{fmt.Sprintf("M%s %sH%sM%s %sV%sM%s %sV%s", lo, mid, hi, lo, mid-3, mid+3, hi, mid-3, mid+3), "ci"})
	}
}

// horizontalAxis draws the grid and the texts below; texts that would touch are
// left out.
func (out *panel) horizontalAxis(a *axis, left, right, top, bottom float64) {
	var texts []tickMark
	for _, t := range a.ticks {
		x := px(left + (right-left)*t.at)
		out.Grid = append(out.Grid, rule{x, px(top), x, px(bottom + 4), "grid"})
		texts = append(texts, t)
	}
	out.tickTexts(texts, left, right, bottom+17)
	out.Labels = append(out.Labels, label{px((left + right) / 2), px(bottom + 32), "middle", "axis", axisTitle(a.unit, a.log)})
}

// tickTexts writes texts below an axis. The last one always gets its room.
func (out *panel) tickTexts(ticks []tickMark, left, right, y float64) {
	if len(ticks) == 0 {
		return
	}
	type span struct{ from, to float64 }
	place := func(t tickMark) span {
		w := charWidth*float64(utf8.RuneCountInString(t.text)) + 4
		from := left + (right-left)*t.at - w/2
		from = min(max(from, 1), panelWidth-1-w)
		return span{from, from + w}
	}
	last := place(ticks[len(ticks)-1])
	end := 0.0
	for i, t := range ticks {
		s := place(t)
		if s.from < end || i < len(ticks)-1 && s.to > last.from {
			continue
		}
		end = s.to
		out.Labels = append(out.Labels, label{px((s.from + s.to) / 2), px(y), "middle", "tick", t.text})
	}
}

// appendLines adds a panel with a line for each subject, if there is any.
func (p *page) appendLines(panels []panel, s sweep, metric, place string, value *axis) []panel {
	const left, right, top, bottom = 62.0, 348.0, 10.0, 196.0
	xs := positions(s.at)
	out := p.newPanel(place, fmt.Sprintf("%s, %s, on %s", s.title, metricWords(metric), place), 236)
	out.verticalAxis(value, left, right, top, bottom)
	var ticks []tickMark
	for i, c := range s.cases {
		ticks = append(ticks, tickMark{xs[i], cut(c.params.Get(s.param), 12)})
	}
	out.tickTexts(ticks, left, right, bottom+17)
	out.Labels = append(out.Labels, label{px((left + right) / 2), px(bottom + 34), "middle", "axis", cut(s.param, 40)})
	at := func(i int, v float64) (x, y px) {
		return px(left + (right-left)*xs[i]), px(bottom - (bottom-top)*value.at(v))
	}
	if words := p.lines(&out, s, metric, at); len(words) > 0 {
		out.Desc = describe(words)
		return append(panels, out)
	}
	return panels
}

// lines draws the line of each subject, and returns its numbers in words. at
// returns where a value of the case i is.
func (p *page) lines(out *panel, s sweep, metric string, at func(i int, v float64) (x, y px)) (words []string) {
	for _, subject := range p.subjects {
		var points, text []string
		class, _ := p.style(subject)
		for i, c := range s.cases {
			one := p.cell(out.Place, c, subject).metric(metric)
			if one == nil {
				continue
			}
			x, y := at(i, one.median)
			points = append(points, x.String()+","+y.String())
			out.Marks = append(out.Marks, p.mark(subject, x, y))
			if one.bounded {
				_, lo := at(i, one.lo)
				_, hi := at(i, one.hi)
				out.Whiskers = append(out.Whiskers, whisker{fmt.Sprintf("M%s %sV%sM%s %sh6M%s %sh6", x, lo, hi, x-3, lo, x-3, hi), class})
			}
			text = append(text, fmt.Sprintf("%s at %s (%s, n=%s)", formatValue(one.median, one.unit), c.params.Get(s.param), formatSpread(one), thousands(one.n())))
		}
		if len(points) > 0 {
			out.Lines = append(out.Lines, polyline{strings.Join(points, " "), class})
			words = append(words, subject+" "+strings.Join(text, ", "))
		}
	}
	return words
}

func (out *panel) verticalAxis(a *axis, left, right, top, bottom float64) {
	lowest := math.Inf(1)
	for _, t := range a.ticks {
		y := bottom - (bottom-top)*t.at
		out.Grid = append(out.Grid, rule{px(left), px(y), px(right), px(y), "grid"})
		if lowest-y < 14 {
			continue
		}
		lowest = y
		out.Labels = append(out.Labels, label{px(left - 6), px(y + 4), "end", "tick", cut(t.text, 8)})
	}
}

// positions spreads numbers on a logarithmic axis from 0 to 1. Zero has no
// logarithm: it gets a place of its own, left of all others.
func positions(values []float64) []float64 {
	lo, hi := math.Inf(1), math.Inf(-1)
	for _, v := range values {
		if v > 0 {
			lo, hi = min(lo, math.Log2(v)), max(hi, math.Log2(v))
		}
	}
	if math.IsInf(lo, 0) {
		lo, hi = 0, 0
	}
	zero := lo
	if slices.ContainsFunc(values, func(v float64) bool { return v <= 0 }) {
		zero = lo - max((hi-lo)/float64(len(values)), 1)
	}
	all := make([]float64, len(values))
	for i, v := range values {
		at := zero
		if v > 0 {
			at = math.Log2(v)
		}
		all[i] = 0.5
		if hi > zero {
			// A margin keeps the marks off the edges.
			all[i] = 0.04 + 0.92*(at-zero)/(hi-zero)
		}
	}
	return all
}
