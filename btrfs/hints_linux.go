package btrfs

import (
	"slices"
	"strings"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/internal/subvol"
)

// Hints returns the names of changed children, and of child directories that
// have changes below them. If names in the directory changed, it also returns
// the names that are not the same inode on both sides. For that it has to list
// both directories; otherwise the cost depends only on the number of hints. It
// looks at no file.
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
// directory. A read of a directory sets the access time and so counts as a
// change of the inode. A change of the names also increases the sequence number
// in the inode.
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

// An inodeState has all parts of an inode that a change of a directory's names
// changes.
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

// If a directory has at least manyChildren changed children, and its size is at
// most worthReading for each of them, it is listed. Otherwise the names of each
// child are searched for.
const (
	manyChildren = 8
	worthReading = 1000
)

// childHints finds the names of the changed children in a directory whose names
// are the same on both sides.
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

// listChildren finds the names of the children by listing the directory.
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

// sortHints sorts the hints. Of two hints for one name it keeps the one without
// Descend, which covers more.
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
