package aufs

import (
	"slices"
	"strings"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/internal/rootfd"
	"github.com/layerkeep/layerkeep/internal/whiteout"
)

// knowledge says what is known about the changes in a directory of a stack.
type knowledge uint8

const (
	// unknown: everything here and below has to be compared.
	unknown knowledge = iota
	// merged: the uppermost branch has the directory, and it merges with the same
	// directory below. So only names that the uppermost branch has in it can have
	// changed.
	merged
	// untouched: the uppermost branch does not have the directory.
	untouched
)

func (d *dir) knowledgeOf(f *found) knowledge {
	switch {
	case d.known != merged:
		return d.known
	case f.place.branch != 0:
		return untouched
	case f.replaced:
		return unknown
	}
	return merged
}

// Hints returns the names that the uppermost branch has in this directory or
// removes from it.
func (d *dir) Hints() ([]diff.Hint, bool, error) {
	switch d.known {
	case untouched:
		return nil, true, nil
	case unknown:
		return nil, false, nil
	case merged:
	}
	var hints []diff.Hint
	err := d.top(func(top *rootfd.Dir) error {
		names, err := top.Names()
		for _, name := range names {
			kind, target, bad := whiteout.Parse(name)
			switch {
			case bad != nil:
			case kind == whiteout.None:
				hints = append(hints, diff.Hint{Name: name})
			case kind == whiteout.Whiteout:
				hints = append(hints, diff.Hint{Name: target})
			}
		}
		return err
	})
	slices.SortFunc(hints, func(a, b diff.Hint) int { return strings.Compare(a.Name, b.Name) })
	return slices.Compact(hints), err == nil, err
}
