package btrfs

import (
	"bytes"
	"slices"
	"strings"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/internal/subvol"
)

// An entry is a name in a directory that only one side has, or that differs
// between the sides.
type entry struct {
	name      string
	ino       uint64
	subvolume bool
}

// entries iterates over the names of a directory in the order in which they
// were made.
type entries struct {
	*subvol.Cursor
	tree  *tree
	ok    bool
	index uint64
	entry subvol.Entry
	err   error
}

func (t *tree) entries(dir uint64) *entries {
	t.work.listed++
	t.work.searches++
	e := &entries{Cursor: subvol.Search(t.vol, subvol.OfInode(dir, subvol.DirIndex, subvol.DirIndex)), tree: t}
	e.next()
	return e
}

func (e *entries) next() {
	if e.ok = e.Next(); !e.ok {
		e.err = e.Err()
		return
	}
	e.tree.work.items++
	e.index = e.Item().Key.Offset
	e.entry, e.err = e.Item().Entry()
	e.ok = e.err == nil
}

func (e *entries) copied() entry {
	return entry{name: string(e.entry.Name), ino: e.entry.Ino, subvolume: e.entry.Subvolume}
}

// compareEntries finds the names in a directory that are not the same inode on
// both sides, and the names of the changed children. Both sides number names in
// the order in which they were made, and started with the same numbers. So
// equal names come in the same order, and only differences have to be stored.
func (t *tree) compareEntries(dir uint64, children []link) ([]diff.Hint, error) {
	a, b := t.old.entries(dir), t.entries(dir)
	defer a.Close()
	defer b.Close()
	var hints []diff.Hint
	var gone, came []entry
	for a.ok || b.ok {
		switch {
		case !b.ok || a.ok && a.index < b.index:
			gone = append(gone, a.copied())
			a.next()
			continue
		case !a.ok || b.index < a.index:
			came = append(came, b.copied())
			b.next()
			continue
		case !sameEntry(a.entry, b.entry):
			gone, came = append(gone, a.copied()), append(came, b.copied())
		case !b.entry.Subvolume && isIn(children, b.entry.Ino):
			hints = append(hints, t.since.hint(string(b.entry.Name), b.entry.Ino))
		}
		a.next()
		b.next()
	}
	for _, e := range []*entries{a, b} {
		if e.err != nil {
			return nil, e.err
		}
	}
	return t.moved(hints, gone, came, children), nil
}

func sameEntry(a, b subvol.Entry) bool {
	return a.Ino == b.Ino && a.Subvolume == b.Subvolume && bytes.Equal(a.Name, b.Name)
}

// moved adds hints for names that were removed or made. If a name was removed
// and made again for the same inode, it is treated as an unchanged name.
func (t *tree) moved(hints []diff.Hint, gone, came []entry, children []link) []diff.Hint {
	byName := func(a, b entry) int { return strings.Compare(a.name, b.name) }
	slices.SortFunc(gone, byName)
	slices.SortFunc(came, byName)
	for _, e := range gone {
		if _, again := slices.BinarySearchFunc(came, e, byName); !again {
			hints = append(hints, diff.Hint{Name: e.name})
		}
	}
	for _, e := range came {
		i, was := slices.BinarySearchFunc(gone, e, byName)
		switch {
		case !was || gone[i] != e:
			hints = append(hints, diff.Hint{Name: e.name})
		case !e.subvolume && isIn(children, e.ino):
			hints = append(hints, t.since.hint(e.name, e.ino))
		}
	}
	return hints
}
