package report

import (
	"fmt"
	"io"
	"strings"
)

// WriteComparison writes a comparison for a terminal of width columns: what
// differs between the machines, what is worse, what is better, the mean of each
// subject, and what is in one report only. A width of 0 is 80.
func WriteComparison(w io.Writer, c *Comparison, width int) error {
	if width <= 0 {
		width = 80
	}
	t := textComparison{textReport{width: max(width, narrowest)}, c}
	t.differences()
	t.changes(Worse, "Worse")
	t.changes(Better, "Better")
	t.rest()
	t.means()
	t.missing("Only in the old report", c.OnlyOld)
	t.missing("Only in the new report", c.OnlyNew)
	_, err := io.WriteString(w, t.out.String())
	return err
}

type textComparison struct {
	textReport
	*Comparison
}

func (t *textComparison) paragraph(text string) {
	writeParagraph(&t.out, oneLine(text), t.width, 2)
}

func (t *textComparison) differences() {
	if len(t.Differences) == 0 {
		return
	}
	t.title("The runs are not alike")
	for _, d := range t.Differences {
		t.paragraph("- " + d)
	}
	t.out.WriteByte('\n')
}

func (t *textComparison) changes(result, title string) {
	place := ""
	for _, c := range t.Changes {
		if c.Result != result {
			continue
		}
		if place == "" {
			t.title(title)
			place = title
		}
		t.paragraph(fmt.Sprintf("%s, %s, %s, %s:", c.Place, c.Case, c.Subject, c.Metric))
		certain := "counted"
		if c.Q != nil {
			certain = "q=" + probability(c.Q)
		}
		t.line("  %s -> %s  %s  %s", valueText(c.Old, c.Unit), valueText(c.New, c.Unit), changeText(c), certain)
	}
	if place != "" {
		t.out.WriteByte('\n')
	}
}

// valueText is "1.52 ms ±12% (n=96)".
func valueText(v Value, unit string) string {
	s := summary{median: v.Median}
	if v.Low != nil && v.High != nil {
		s.bounded, s.lo, s.hi = true, *v.Low, *v.High
	}
	return fmt.Sprintf("%s %s (n=%d)", formatValue(v.Median, unit), formatSpread(&s), v.N)
}

// changeText is "+20 %" or, where it more than doubled, "3.2 times".
func changeText(c Change) string {
	switch {
	case c.Ratio == nil:
		return "changed"
	case *c.Ratio >= 2:
		return digits(*c.Ratio) + " times"
	}
	return fmt.Sprintf("%+.1f %%", 100*(*c.Ratio-1))
}

func probability(p *float64) string {
	switch {
	case p == nil:
		return "?"
	case *p < 0.0001:
		return "<0.0001"
	}
	return fmt.Sprintf("%.4f", *p)
}

// rest counts what did not change.
func (t *textComparison) rest() {
	count := map[string]int{}
	for _, c := range t.Changes {
		count[c.Result]++
	}
	t.title("In numbers")
	t.paragraph(fmt.Sprintf("- %s worse, %d better, %d without a change beyond the noise, %d with too few samples (fewer than %d on a side).",
		plural(count[Worse], "metric is", "metrics are"), count[Better], count[Unchanged], count[TooFew], fewestSamples))
	if n := count[OtherUnits]; n > 0 {
		t.paragraph(fmt.Sprintf("- %s not compared, as the units differ.", plural(n, "metric was", "metrics were")))
	}
	t.paragraph(fmt.Sprintf("- %s by Mann-Whitney U; q is p corrected by Benjamini and Hochberg: "+
		"of all changes with q < %.2f, at most one in twenty is expected to be false.", plural(t.Tests, "test", "tests"), alpha))
	t.out.WriteByte('\n')
}

func (t *textComparison) means() {
	if len(t.Means) == 0 {
		return
	}
	t.title("Geometric mean of the main metrics, new to old")
	for _, m := range t.Means {
		t.line("%s  %s (n=%s)", padRight(oneLine(m.Subject), 26), padLeft(digits(m.Ratio), 6), plural(m.Cases, "result", "results"))
	}
	t.out.WriteByte('\n')
}

// missing counts the results of each subject and place.
func (t *textComparison) missing(title string, all []Missing) {
	if len(all) == 0 {
		return
	}
	t.title(title)
	var groups []string
	cases := map[string][]string{}
	for _, m := range all {
		group := m.Place + ", " + m.Subject
		groups = appendNew(groups, group)
		cases[group] = append(cases[group], m.Case)
	}
	for _, g := range groups {
		names := cases[g]
		text := strings.Join(names[:min(len(names), 3)], ", ")
		if len(names) > 3 {
			text += fmt.Sprintf(" and %d more", len(names)-3)
		}
		t.paragraph("- " + g + ": " + text)
	}
	t.out.WriteByte('\n')
}
