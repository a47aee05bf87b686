package robustness

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// An outcome counts what came of the cuts of one file system and backend.
type outcome struct {
	fs, backend string
	cuts        int
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
	r.all = append(r.all, o)
}

// table writes outcomes as Markdown.
func (r *results) table(seed uint64, when time.Time) string {
	slices.SortFunc(r.all, func(a, b *outcome) int {
		return strings.Compare(a.fs+" "+a.backend, b.fs+" "+b.backend)
	})
	var b strings.Builder
	fmt.Fprintf(&b, "Run on %s with the seed %d.\n\n", when.UTC().Format(time.DateOnly), seed)
	b.WriteString("| file system | backend | cuts | the disk lost writes | lost | torn | stray | a command failed | not mounted |\n|---|---|---|---|---|---|---|---|---|\n")
	for _, o := range r.all {
		fmt.Fprintf(&b, "| %s | %s | %d | %d | %d | %d | %d | %d | %d |\n", o.fs, o.backend, o.cuts, o.lostWrites,
			o.broken[lost], o.broken[torn], o.broken[stray], o.broken[unusable], o.broken[unmounted])
	}
	return b.String()
}
