package btrfs

import (
	"slices"
	"strings"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/internal/subvol"
)

// Hints returns, of a directory whose names changed, those that are not the
// same inode on both sides; of every directory, the names of what changed, and
// of the directories below which something did. The former takes a reading of
// both directories, the latter costs only what it finds. No file is looked at.
func (d *dir) Hints() ([]diff.Hint, bool, error) {
	if !d.known {
		return nil, false, nil
	}
	t := d.tree
	children := t.since.in(d.ino)
	changed, err := t.namesChanged(d.ino)
	if err != nil {
		return nil, false, err
	}
	var hints []diff.Hint
	if changed {
		hints, err = t.compareEntries(d.ino, children)
	} else {
		hints, err = t.childHints(d.ino, children)
	}
	if err != nil {
		return nil, false, err
	}
	return sortHints(hints), true, nil
}

// namesChanged reports whether names may have been added or removed in a known
// directory. It tells a directory that was only read, which sets the access
// time, from others: all changes of a directory count up the sequence number in
// its inode.
func (t *tree) namesChanged(ino uint64) (bool, error) {
	if !t.since.has(ino) {
		return false, nil
	}
	old, err := t.old.inode(ino)
	if err != nil {
		return false, err
	}
	now, err := t.inode(ino)
	return old != now, err
}

// An inodeState is all that a change of a directory changes.
type inodeState struct {
	rest [2]string
	size uint64 // of a directory: twice the length of all names
}

// inode reads an inode.
func (t *tree) inode(ino uint64) (state inodeState, err error) {
	q := subvol.OfInode(ino, subvol.InodeItem, subvol.InodeItem)
	q.Few = true
	err = t.each(q, func(i subvol.Item) error {
		n, err := i.Inode()
		state = inodeState{[2]string{string(n.Rest[0]), string(n.Rest[1])}, n.Size}
		return err
	})
	return state, err
}

// hint returns the hint for a name of a child.
func (s *changeSet) hint(name string, ino uint64) diff.Hint {
	return diff.Hint{Name: name, Descend: !s.has(ino)}
}

// Where one directory has so many children that changed, and not many more
// names (for each of them this much of the directory's size), it is read
// instead of asking for the names of each.
const (
	manyChildren = 8
	worthReading = 1000
)

// childHints finds the names of the children in a directory whose names are the
// same on both sides.
func (t *tree) childHints(dir uint64, children []link) ([]diff.Hint, error) {
	if len(children) >= manyChildren {
		n, err := t.inode(dir)
		if err != nil {
			return nil, err
		}
		if n.size/worthReading <= uint64(len(children)) {
			return t.listChildren(dir, children)
		}
	}
	hints := make([]diff.Hint, 0, len(children))
	for _, c := range children {
		err := t.namesIn(c.ino, dir, func(name string) { hints = append(hints, t.since.hint(name, c.ino)) })
		if err != nil {
			return nil, err
		}
	}
	return hints, nil
}

// listChildren finds the names of the children by reading the directory.
func (t *tree) listChildren(dir uint64, children []link) ([]diff.Hint, error) {
	hints := make([]diff.Hint, 0, len(children))
	e := t.entries(dir)
	defer e.Close()
	for ; e.ok; e.next() {
		if ino := e.entry.Ino; !e.entry.Subvolume && isIn(children, ino) {
			hints = append(hints, t.since.hint(string(e.entry.Name), ino))
		}
	}
	return hints, e.err
}

// sortHints sorts, and of two hints for a name keeps the one that says more.
func sortHints(hints []diff.Hint) []diff.Hint {
	slices.SortFunc(hints, func(a, b diff.Hint) int {
		if c := strings.Compare(a.Name, b.Name); c != 0 || a.Descend == b.Descend {
			return c
		}
		if a.Descend {
			return 1
		}
		return -1
	})
	return slices.CompactFunc(hints, func(a, b diff.Hint) bool { return a.Name == b.Name })
}
