package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/snapshots"
)

// listingLimit is how many snapshots a listing sorts. More of them are printed
// as they come, so that a list of any length takes no more memory and begins at
// once.
const listingLimit = 1000

// A listing prints snapshots as a table, or as one JSON object.
type listing struct {
	app     *app
	pending []lsEntry
	printed int
}

type lsEntry struct {
	info snapshots.Info
	json snapshotJSON
}

func newListing(a *app) *listing { return &listing{app: a} }

func (l *listing) add(info snapshots.Info, s snapshotJSON) error {
	l.pending = append(l.pending, lsEntry{info, s})
	if len(l.pending) <= listingLimit {
		return nil
	}
	return l.print()
}

// end prints what is left, oldest first where that is everything.
func (l *listing) end() error {
	if l.printed == 0 {
		slices.SortStableFunc(l.pending, func(a, b lsEntry) int { return older(a.info, b.info) })
	}
	if err := l.print(); err != nil || !l.app.global.json {
		return err
	}
	closing := "\n  ]\n}\n"
	if l.printed == 0 {
		closing = "]\n}\n"
	}
	_, err := io.WriteString(l.app.Out, closing)
	return doing(err, "writing the result to standard output")
}

// print prints what is pending; it begins the list when nothing was printed
// yet.
func (l *listing) print() error {
	print := l.printTable
	if l.app.global.json {
		print = l.printJSON
	}
	if err := print(); err != nil {
		return doing(err, "writing the result to standard output")
	}
	l.printed += len(l.pending)
	l.pending = l.pending[:0]
	return nil
}

func (l *listing) printTable() error {
	rows := make([][]string, 0, len(l.pending)+1)
	if l.printed == 0 {
		rows = append(rows, []string{"KEY", "KIND", "PARENT", "IMAGE", "MOUNTED", "LIMIT", "CREATED"})
	}
	for _, p := range l.pending {
		s := p.json
		rows = append(rows, []string{
			s.Key, withState(s.Kind, s.State), orDash(s.Parent), orDash(strings.Join(s.Images, ",")),
			orDash(strings.Join(s.Mounts, ",")), limitText(s.Limit), s.Created,
		})
	}
	if len(rows) == 0 {
		return nil
	}
	return table(l.app.Out, rows[0], rows[1:])
}

// withState is a kind with what is wrong with the layer, as in "active,torn".
func withState(kind, state string) string {
	if state == "" {
		return kind
	}
	return kind + "," + state
}

// printJSON prints what app.printJSON would of all of them, piece by piece.
func (l *listing) printJSON() error {
	if l.printed == 0 {
		if _, err := io.WriteString(l.app.Out, "{\n  \"snapshots\": ["); err != nil {
			return err
		}
	}
	for i, p := range l.pending {
		before := ",\n    "
		if l.printed+i == 0 {
			before = "\n    "
		}
		var text strings.Builder
		enc := json.NewEncoder(&text)
		enc.SetEscapeHTML(false)
		enc.SetIndent("    ", "  ")
		if err := enc.Encode(p.json); err != nil {
			return err
		}
		if _, err := fmt.Fprint(l.app.Out, before, strings.TrimSuffix(text.String(), "\n")); err != nil {
			return err
		}
	}
	return nil
}
