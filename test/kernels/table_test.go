package kernels

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

const document = "../../docs/kernels.md"

// A column is what ran on one kernel.
type column struct {
	name    string // as the document calls it
	release string // of its kernel, exactly; empty where it did not run
	cells   map[string]*count
	failed  []string // names of tests
}

// addLog counts a suite. The smoke script's tests are counted by backend, as
// "smoke: BACKEND", and those of its demo once more by themselves.
func (c *column) addLog(l suiteLog) {
	if c.cells == nil {
		c.cells = map[string]*count{}
	}
	before := len(c.failed)
	for _, r := range l.shown() {
		row := l.suite
		if parts := strings.Split(r.name, "/"); !strings.HasPrefix(parts[0], "Test") && len(parts) == 3 {
			row = parts[0] + ": " + parts[1]
		}
		c.cell(row).add(r)
		if strings.HasSuffix(r.name, "/demo") && strings.HasPrefix(r.name, "smoke/") {
			c.cell("snapctl demo").add(r)
		}
		if r.end == failed {
			c.failed = append(c.failed, row+": "+r.name)
		}
	}
	if strings.HasSuffix(l.program, ".test") {
		c.cell(l.suite).seconds = float64(l.seconds)
	}
	if l.status != 0 && len(c.failed) == before {
		c.cell(l.suite).failed++
		c.failed = append(c.failed, l.suite+" ended with "+fmt.Sprint(l.status))
	}
}

func (c *column) cell(row string) *count {
	if c.cells[row] == nil {
		c.cells[row] = &count{}
	}
	return c.cells[row]
}

// counts is the text of a cell: 12 passed, 1 FAILED, 3 skipped, 40 s.
func (n *count) String() string {
	var parts []string
	if n.passed > 0 {
		parts = append(parts, fmt.Sprintf("%d passed", n.passed))
	}
	if n.failed > 0 {
		parts = append(parts, fmt.Sprintf("%d FAILED", n.failed))
	}
	if n.skipped > 0 {
		parts = append(parts, fmt.Sprintf("%d skipped", n.skipped))
	}
	return strings.Join(append(parts, fmt.Sprintf("%.0f s", n.seconds)), ", ")
}

// table writes the columns as Markdown, one row for each suite, and below it the
// tests that failed.
func table(columns []*column, when time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Run on %s.\n\n| |", when.UTC().Format(time.DateOnly))
	for _, c := range columns {
		fmt.Fprintf(&b, " %s |", c.name)
	}
	fmt.Fprintf(&b, "\n|---%s|\n| kernel |", strings.Repeat("|---", len(columns)))
	for _, c := range columns {
		fmt.Fprintf(&b, " %s |", c.release)
	}
	b.WriteString("\n")
	for _, row := range rows(columns) {
		fmt.Fprintf(&b, "| %s |", row)
		for _, c := range columns {
			text := ""
			if n := c.cells[row]; n != nil {
				text = n.String()
			}
			fmt.Fprintf(&b, " %s |", text)
		}
		b.WriteString("\n")
	}
	for _, c := range columns {
		for _, name := range c.failed {
			fmt.Fprintf(&b, "\nFailed on %s: `%s`.\n", c.name, name)
		}
	}
	return b.String()
}

// rows are the suites of all columns, each at the place where it first ran.
func rows(columns []*column) []string {
	var all []string
	for _, c := range columns {
		var own []string
		for row := range c.cells {
			own = append(own, row)
		}
		slices.SortFunc(own, byPlace)
		for _, row := range own {
			if !slices.Contains(all, row) {
				all = append(all, row)
			}
		}
	}
	slices.SortStableFunc(all, byPlace)
	return all
}

// rowOrder is the order of the document's rows; what is not in it comes last.
var rowOrder = []string{
	"smoke: overlay2", "smoke: btrfs", "smoke: vfs", "smoke: aufs", "snapctl demo",
	"mount", "overlay2", "btrfs", "vfs", "aufs", "snapshotter", "tar", "diff",
}

func byPlace(a, b string) int {
	place := func(s string) int {
		if i := slices.Index(rowOrder, s); i >= 0 {
			return i
		}
		return len(rowOrder)
	}
	if d := place(a) - place(b); d != 0 {
		return d
	}
	return strings.Compare(a, b)
}

// replaceBetween puts text between the two marker lines that a document has for
// name.
func replaceBetween(doc, name, text string) (string, error) {
	begin, end := "<!-- begin: "+name+" -->\n", "<!-- end: "+name+" -->\n"
	i := strings.Index(doc, begin)
	j := strings.Index(doc, end)
	if i < 0 || j < i {
		return "", fmt.Errorf("no lines %q and %q", begin, end)
	}
	return doc[:i+len(begin)] + text + doc[j:], nil
}

// writeDocument replaces a part of docs/kernels.md.
func writeDocument(name, text string) error {
	doc, err := os.ReadFile(document)
	if err != nil {
		return err
	}
	changed, err := replaceBetween(string(doc), name, text)
	if err != nil {
		return fmt.Errorf("%s: %w", document, err)
	}
	return os.WriteFile(document, []byte(changed), 0o644)
}
