package kernels

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/layerkeep/layerkeep/internal/resultdoc"
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

// A table has the results of several kernels. Each column is replaced by
// itself, so that a run of one kernel, or one that was interrupted, keeps the
// others.
type table struct {
	columns []string
	cells   map[string]map[string]string // by column and row
	failed  map[string][]string          // lines about tests, by column
}

// Rows of a table that no suite has.
const (
	runOn     = "run on"
	kernelRow = "kernel"
)

// set puts a column into the table, in the place of the one of that name.
func (t *table) set(c *column, when time.Time) {
	if t.cells == nil {
		t.cells, t.failed = map[string]map[string]string{}, map[string][]string{}
	}
	if !slices.Contains(t.columns, c.name) {
		t.columns = append(t.columns, c.name)
	}
	cells := map[string]string{runOn: when.UTC().Format(time.DateOnly), kernelRow: c.release}
	for row, n := range c.cells {
		cells[row] = n.String()
	}
	t.cells[c.name], t.failed[c.name] = cells, nil
	for _, name := range c.failed {
		t.failed[c.name] = append(t.failed[c.name], fmt.Sprintf("Failed on %s: `%s`.", c.name, name))
	}
}

// String is the table as Markdown, one row for each suite, and below it the
// tests that failed.
func (t *table) String() string {
	var b strings.Builder
	line := func(first string, cell func(column string) string) {
		fmt.Fprintf(&b, "| %s |", first)
		for _, c := range t.columns {
			fmt.Fprintf(&b, " %s |", cell(c))
		}
		b.WriteString("\n")
	}
	line("", func(c string) string { return c })
	fmt.Fprintf(&b, "|---%s|\n", strings.Repeat("|---", len(t.columns)))
	for _, row := range t.rows() {
		line(row, func(c string) string { return t.cells[c][row] })
	}
	for _, c := range t.columns {
		for _, text := range t.failed[c] {
			fmt.Fprintf(&b, "\n%s\n", text)
		}
	}
	return b.String()
}

func (t *table) rows() []string {
	var all []string
	for _, cells := range t.cells {
		for row := range cells {
			if !slices.Contains(all, row) {
				all = append(all, row)
			}
		}
	}
	slices.SortFunc(all, byPlace)
	return all
}

// sort puts the columns into an order; those that it lacks go.
func (t *table) sort(order []string) {
	t.columns = slices.DeleteFunc(slices.Clone(order), func(c string) bool { return t.cells[c] == nil })
}

// parseTable is the inverse of String.
func parseTable(text string) (*table, error) {
	t := &table{cells: map[string]map[string]string{}, failed: map[string][]string{}}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || strings.HasPrefix(line, "|---"):
		case strings.HasPrefix(line, "|"):
			cells := strings.Split(strings.Trim(line, "|"), "|")
			if err := t.addLine(cells); err != nil {
				return nil, fmt.Errorf("%w: %q", err, line)
			}
		default:
			i := slices.IndexFunc(t.columns, func(c string) bool { return strings.HasPrefix(line, "Failed on "+c+": ") })
			if i < 0 {
				return nil, fmt.Errorf("%w: %q", errTable, line)
			}
			t.failed[t.columns[i]] = append(t.failed[t.columns[i]], line)
		}
	}
	return t, nil
}

var errTable = errors.New("no line of a table of results")

func (t *table) addLine(cells []string) error {
	for i, c := range cells {
		cells[i] = strings.TrimSpace(c)
	}
	if t.columns == nil {
		t.columns = cells[1:]
		for _, c := range t.columns {
			t.cells[c] = map[string]string{}
		}
		return nil
	}
	if len(cells) != len(t.columns)+1 {
		return errTable
	}
	for i, text := range cells[1:] {
		if text != "" {
			t.cells[t.columns[i]][cells[0]] = text
		}
	}
	return nil
}

// writeColumn replaces a column of the table that the document has under a
// name.
func writeColumn(document, name string, c *column, order []string, when time.Time) error {
	text, err := resultdoc.Part(document, name)
	if err != nil {
		return err
	}
	t, err := parseTable(text)
	if err != nil {
		return fmt.Errorf("%s: %w", document, err)
	}
	t.set(c, when)
	t.sort(order)
	return resultdoc.Replace(document, name, t.String())
}

// rowOrder is the order of the document's rows; what is not in it comes last.
var rowOrder = []string{
	runOn, kernelRow, "smoke: overlay2", "smoke: btrfs", "smoke: vfs", "smoke: aufs", "snapctl demo",
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
