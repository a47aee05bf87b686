package report

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/layerkeep/layerkeep/bench"
)

// Text writes a report for a terminal of width columns: where it was measured
// and how steady the machine was, a table for each suite in each place, what
// was left out and why, and the verdict at the end. A width of 0 is 80. No line
// is wider, unless width is less than 40.
func Text(w io.Writer, r *bench.Report, width int) error {
	if width <= 0 {
		width = 80
	}
	t := textReport{index: newIndex(r), width: max(width, narrowest)}
	t.heading()
	for _, place := range t.places {
		for _, suite := range t.suites {
			t.suite(place, suite)
		}
	}
	t.leftOuts()
	t.remarks()
	t.verdict()
	_, err := io.WriteString(w, t.out.String())
	return err
}

type textReport struct {
	*index
	width int
	out   strings.Builder
}

// line writes one line, cut to the width.
func (t *textReport) line(format string, args ...any) {
	t.out.WriteString(cut(oneLine(fmt.Sprintf(format, args...)), t.width) + "\n")
}

func (t *textReport) title(text string) {
	text = cut(oneLine(text), t.width)
	t.out.WriteString(text + "\n" + strings.Repeat("-", len([]rune(text))) + "\n")
}

// field writes "name  text" with the text in lines below each other.
func (t *textReport) field(name, text string) {
	const indent = 9
	t.out.WriteString(padRight(name, indent-1) + " ")
	var b strings.Builder
	writeParagraph(&b, text, t.width-indent, 0)
	t.out.WriteString(strings.ReplaceAll(strings.TrimRight(b.String(), "\n"), "\n", "\n"+strings.Repeat(" ", indent)) + "\n")
}

func (t *textReport) heading() {
	t.title("Layerkeep benchmark")
	t.field("run", runLine(t.report))
	t.field("machine", machineLine(t.report.Machine))
	t.field("system", systemLine(t.report.Machine))
	t.field("noise", noiseLine(t.report.Noise))
	for _, p := range t.report.Places {
		t.field("on "+p.Name, placeLine(p))
	}
	t.out.WriteByte('\n')
	t.field("tables", "median, ± half of its 95 % confidence interval (±? with fewer than six samples), "+
		"and how many times that of the bare file system. n is the number of samples.")
	t.out.WriteByte('\n')
}

func runLine(r *bench.Report) string {
	kind := "full run"
	if r.Quick {
		kind = "quick run"
	}
	text := fmt.Sprintf("%s of %s, %s", kind, formatValue(r.Seconds, bench.Seconds), r.Started.UTC().Format("2006-01-02 15:04 MST"))
	if r.Version != "" {
		text += ", version " + r.Version
	}
	if !r.Complete {
		text += "; not complete: some cases were not measured for lack of time, or the run was stopped"
	}
	return text
}

func machineLine(m bench.Machine) string {
	text := fmt.Sprintf("%s, %s, %s of memory", orUnknown(m.CPU), plural(m.CPUs, "CPU", "CPUs"), formatValue(float64(m.Memory), bench.Bytes))
	if m.Virtual {
		text += ", a virtual machine"
	}
	return text
}

func systemLine(m bench.Machine) string {
	return fmt.Sprintf("%s, kernel %s, %s", orUnknown(m.OS), orUnknown(m.Kernel), orUnknown(m.Arch))
}

func orUnknown(text string) string {
	if text == "" {
		return "unknown"
	}
	return text
}

// noiseLine says how steady the machine was.
func noiseLine(n bench.Noise) string {
	load := fmt.Sprintf("load %s before and %s after; %s %% of the processor time went to other machines (steal)",
		digits(n.LoadBefore), digits(n.LoadAfter), digits(100*n.Steal))
	control := summarize(bench.Metric{Samples: n.Control, Unit: bench.Seconds}, 0)
	if control == nil || control.median <= 0 {
		return "the control work was not measured; " + load
	}
	low, high := control.sorted[control.n()/20], control.sorted[control.n()-1-control.n()/20]
	return fmt.Sprintf("the same control work took %s (median of %s times), and between %.0f %% less and %.0f %% more in nine cases of ten; %s",
		formatValue(control.median, bench.Seconds), thousands(control.n()),
		100*(1-low/control.median), 100*(high/control.median-1), load)
}

func placeLine(p bench.PlaceInfo) string {
	if p.FileSystem == "" {
		return orUnknown(p.Device)
	}
	text := fmt.Sprintf("%s on %s; mounted with %s; %s of %s free", p.FileSystem, orUnknown(p.Device), orUnknown(p.Options),
		formatValue(float64(p.Free), bench.Bytes), formatValue(float64(p.Size), bench.Bytes))
	if p.Reflink {
		text += "; files can share blocks"
	}
	if p.Shared {
		text += "; other programs write to the device, so bytes written may be too many"
	}
	return text
}

// suite writes the tables of a suite in a place.
func (t *textReport) suite(place, suite string) {
	cases := t.casesOf(place, suite)
	if len(cases) == 0 {
		return
	}
	t.title(fmt.Sprintf("%s on %s", suite, place))
	main := commonestMain(cases)
	t.line("%s", main)
	t.table(place, cases, main, func(c *caseInfo) string { return c.main })
	for _, metric := range t.furtherMetrics(place, cases) {
		t.line("%s", metric)
		t.table(place, cases, metric, func(c *caseInfo) string {
			if c.main == metric {
				return ""
			}
			return metric
		})
	}
}

func commonestMain(cases []*caseInfo) string {
	count := map[string]int{}
	best := cases[0].main
	for _, c := range cases {
		count[c.main]++
		if count[c.main] > count[best] {
			best = c.main
		}
	}
	return best
}

// table writes one metric of cases; metricOf returns which one it is of a case,
// empty to leave the case out. Where it is not the one of the title, the row
// says so.
func (t *textReport) table(place string, cases []*caseInfo, title string, metricOf func(*caseInfo) string) {
	g := grid{corner: "case"}
	var rows []*caseInfo
	for _, s := range t.subjects {
		found := false
		for _, c := range cases {
			found = found || t.cell(place, c, s).metric(metricOf(c)) != nil
		}
		if found {
			g.heads = append(g.heads, s)
		}
	}
	for _, c := range cases {
		for _, s := range t.subjects {
			if t.cell(place, c, s).metric(metricOf(c)) != nil {
				rows = append(rows, c)
				break
			}
		}
	}
	for _, c := range rows {
		label := c.label()
		if m := metricOf(c); m != title {
			label += " (" + m + ")"
		}
		g.labels = append(g.labels, label)
		t.row(&g, place, c, metricOf(c))
	}
	g.write(&t.out, t.width)
}

// row adds the cells of a case. The number of samples that most of them have is
// in a column of its own.
func (t *textReport) row(g *grid, place string, c *caseInfo, metric string) {
	var found []*summary
	for _, s := range t.subjects {
		if slices.Contains(g.heads, s) {
			found = append(found, t.cell(place, c, s).metric(metric))
		}
	}
	n := commonestCount(found)
	bare := t.cell(place, c, t.kinds.bareOf(t.subjects)).metric(metric)
	var cells []string
	for _, s := range found {
		cells = append(cells, cellText(s, bare, n))
	}
	g.counts, g.rows = append(g.counts, thousands(n)), append(g.rows, cells)
}

func commonestCount(found []*summary) (n int) {
	count := map[int]int{}
	for _, s := range found {
		if s == nil {
			continue
		}
		count[s.n()]++
		if n == 0 || count[s.n()] > count[n] {
			n = s.n()
		}
	}
	return n
}

func cellText(s, bare *summary, n int) string {
	if s == nil {
		return "-"
	}
	text := formatValue(s.median, s.unit) + " " + formatSpread(s)
	if bare != nil && bare != s {
		if ratio := formatRatio(s.median, bare.median); ratio != "" {
			text += " " + ratio
		}
	}
	if s.n() != n {
		text += fmt.Sprintf(" n=%d", s.n())
	}
	return text
}

func (t *textReport) leftOuts() {
	all := leftOuts(t.report)
	if len(all) == 0 {
		return
	}
	t.title("Not measured")
	for _, l := range all {
		what := fmt.Sprintf("%s, %s, %s:", l.Place, l.Subject, plural(l.Cases, "case", "cases"))
		if len([]rune(what))+1+len([]rune(l.Reason)) <= t.width {
			t.line("%s %s", what, l.Reason)
			continue
		}
		t.line("%s", what)
		t.line("  %s", l.Reason)
	}
	t.out.WriteByte('\n')
}

func (t *textReport) remarks() {
	all := remarks(t.index)
	if len(all) == 0 {
		return
	}
	t.title("Remarks")
	for _, r := range all {
		writeParagraph(&t.out, fmt.Sprintf("%s, %s, %s: %s", r.Place, r.Subject, r.Case, r.Text), t.width, 2)
	}
	t.out.WriteByte('\n')
}

func (t *textReport) verdict() {
	t.title("Verdict")
	advice := verdictOf(t.index)
	if len(advice) == 0 {
		t.line("Nothing was measured that could be compared.")
		return
	}
	last := ""
	for _, a := range advice {
		if a.Place != last {
			if last != "" {
				t.out.WriteByte('\n')
			}
			t.line("On %s", a.Place)
			last = a.Place
		}
		writeParagraph(&t.out, "- "+a.Work+": "+a.Sentence, t.width, 2)
	}
}
