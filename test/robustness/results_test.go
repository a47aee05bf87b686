package robustness

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/layerkeep/layerkeep/internal/resultdoc"
)

// An outcome counts what came of the cuts of one file system and backend.
type outcome struct {
	fs, backend string
	seed        uint64
	cuts        int
	// ended is when the last cut was made.
	ended time.Time
	// lostWrites counts the cuts in which the disk lost or tore writes.
	lostWrites int
	// broken counts the cuts with each sort of damage.
	broken map[damage]int
}

func (o *outcome) add(findings []finding) {
	if o.broken == nil {
		o.broken = map[damage]int{}
	}
	o.cuts++
	var seen []damage
	for _, f := range findings {
		if !slices.Contains(seen, f.damage) {
			seen = append(seen, f.damage)
			o.broken[f.damage]++
		}
	}
}

// results collects outcomes of subtests that run side by side.
type results struct {
	mu  sync.Mutex
	all []*outcome
}

func (r *results) add(o *outcome) {
	r.mu.Lock()
	defer r.mu.Unlock()
	o.ended = now()
	r.all = append(r.all, o)
}

const cutsHead = `| file system | backend | run on | seed | cuts | the disk lost writes | lost | torn | stray | a command failed | not mounted |
|---|---|---|---|---|---|---|---|---|---|---|
`

// row is a line of the table in Markdown.
func (o *outcome) row() string {
	return fmt.Sprintf("%s %s | %d | %d | %d | %d | %d | %d | %d | %d |\n", o.named(), o.ended.UTC().Format(time.DateOnly), o.seed, o.cuts, o.lostWrites,
		o.broken[lost], o.broken[torn], o.broken[stray], o.broken[unusable], o.broken[unmounted])
}

// named is how the row of a file system and backend begins.
func (o *outcome) named() string { return fmt.Sprintf("| %s | %s |", o.fs, o.backend) }

// merge returns a table of cuts with the outcomes in it. The rows that it has
// of other file systems and backends stay, so that a run may be made in parts.
func (r *results) merge(table string) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	rest, found := strings.CutPrefix(table, cutsHead)
	if !found && table != "" {
		return "", fmt.Errorf("this is not a table of cuts:\n%s", table)
	}
	rows := strings.SplitAfter(rest, "\n")
	rows = rows[:len(rows)-1] // nothing is after the last end of a line
	for _, o := range r.all {
		rows = slices.DeleteFunc(rows, func(row string) bool { return strings.HasPrefix(row, o.named()) })
		rows = append(rows, o.row())
	}
	slices.Sort(rows)
	return cutsHead + strings.Join(rows, ""), nil
}

// write merges the outcomes into a table of the document.
func (r *results) write(name string) error {
	documentMu.Lock()
	defer documentMu.Unlock()
	table, err := resultdoc.Part(document, name)
	if err != nil {
		return err
	}
	if table, err = r.merge(table); err != nil {
		return fmt.Errorf("%s, %q: %w", document, name, err)
	}
	return resultdoc.Replace(document, name, table)
}

// documentMu is held while the document is changed.
var documentMu sync.Mutex
