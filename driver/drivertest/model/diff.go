package model

import (
	"fmt"
	"maps"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/internal/fstest"
)

// A Change is one path that differs between two trees; see [diff.Change].
type Change struct {
	Kind     diff.Kind
	Path     string
	Hardlink string
	// Node is what is there now, its Link not set.
	Node fstest.Node

	body string
}

// String says the change in one line.
func (c Change) String() string {
	s := fmt.Sprintf("%s %s", c.Kind, c.Path)
	if c.Hardlink != "" {
		return s + " = " + c.Hardlink
	}
	if c.Kind == diff.Delete {
		return s
	}
	return s + " " + c.Node.String()
}

// comparison is the state of one Diff.
type comparison struct {
	old, new *Tree
	// regrouped holds the new inodes that changed by their links alone.
	regrouped map[*inode]bool
	// written is the first name in the diff of each new inode.
	written map[*inode]string
	changes []Change
}

// Diff returns the changes that turn old into new: a directory before its
// children; of the children of one directory first the deleted names, then the
// others, both sorted. A nil old is the empty tree whose root nobody described,
// as [New].
func Diff(old, new *Tree) []Change {
	if old == nil {
		old = New()
	}
	c := &comparison{old: old, new: new, regrouped: map[*inode]bool{}, written: map[*inode]string{}}
	c.regroup()
	if differ(old.root, new.root) {
		c.add(diff.Modify, ".", new.root)
	}
	c.dir("", old.root, new.root)
	return c.changes
}

// dir compares the children of two directories; old is nil when the directory
// is new.
func (c *comparison) dir(prefix string, old, new *inode) {
	var before map[string]*inode
	if old != nil {
		before = old.kids
		for _, name := range old.names() {
			if new.kids[name] == nil {
				c.changes = append(c.changes, Change{Kind: diff.Delete, Path: prefix + name})
			}
		}
	}
	for _, name := range new.names() {
		o, n, p := before[name], new.kids[name], prefix+name
		switch {
		case n.kind() == diff.TypeSocket:
			// A layer cannot hold it.
		case o == nil:
			c.add(diff.Add, p, n)
		case differ(o, n) || c.regrouped[n]:
			c.add(diff.Modify, p, n)
		}
		if !n.isDir() {
			continue
		}
		if o != nil && !o.isDir() {
			o = nil
		}
		c.dir(path.Join(prefix, name)+"/", o, n)
	}
}

func (c *comparison) add(kind diff.Kind, p string, i *inode) {
	if first, ok := c.written[i]; ok && !i.isDir() {
		c.changes = append(c.changes, Change{Kind: kind, Path: p, Hardlink: first})
		return
	}
	c.written[i] = p
	c.changes = append(c.changes, Change{Kind: kind, Path: p, Node: i.node(), body: i.body})
}

// differ reports whether anything but the hard links differs.
func differ(o, n *inode) bool {
	return o.mode != n.mode || o.uid != n.uid || o.gid != n.gid || o.rdev != n.rdev ||
		o.body != n.body || o.target != n.target || !o.mtime.Equal(n.mtime) || !maps.Equal(o.xattrs, n.xattrs)
}

// regroup finds the files all of whose names are in the diff because of their
// links: those that join names which were not one file, and, of each old file,
// those that it was split into, if more than one of them is unchanged
// otherwise. Names that only the old tree has do not matter.
func (c *comparison) regroup() {
	heirs := map[*inode][]*inode{}
	for n, names := range c.new.links() {
		was := c.old.lookup(names[0])
		for _, name := range names[1:] {
			if was == nil || c.old.lookup(name) != was {
				c.regrouped[n] = true
			}
		}
		if was != nil && !c.regrouped[n] && !differ(was, n) {
			heirs[was] = append(heirs[was], n)
		}
	}
	for _, split := range heirs {
		if len(split) < 2 {
			continue
		}
		for _, n := range split {
			c.regrouped[n] = true
		}
	}
}

// Entries returns the layer that says the changes, as entries that [Tree.Apply]
// takes.
func Entries(changes []Change) []fstest.Entry {
	entries := make([]fstest.Entry, 0, len(changes))
	for _, c := range changes {
		entries = append(entries, c.entry())
	}
	return entries
}

func (c Change) entry() fstest.Entry {
	if c.Kind == diff.Delete {
		return fstest.Whiteout(c.Path)
	}
	if c.Hardlink != "" {
		return fstest.Link(c.Path, c.Hardlink)
	}
	var e fstest.Entry
	switch c.Node.Type() {
	case diff.TypeDir:
		e = fstest.Dir(c.Path)
	case diff.TypeSymlink:
		e = fstest.Symlink(c.Path, c.Node.Target)
	case diff.TypeFifo:
		e = fstest.Fifo(c.Path)
	case diff.TypeChar:
		e = fstest.Char(c.Path, int64(unix.Major(c.Node.Rdev)), int64(unix.Minor(c.Node.Rdev)))
	case diff.TypeBlock:
		e = fstest.Block(c.Path, int64(unix.Major(c.Node.Rdev)), int64(unix.Minor(c.Node.Rdev)))
	default:
		e = fstest.File(c.Path, c.body)
	}
	e.Mode = int64(c.Node.Perm())
	e.UID, e.GID = int(c.Node.UID), int(c.Node.GID)
	e.Mtime, e.Xattrs = c.Node.Mtime, c.Node.Xattrs
	return e
}

// Brief lists changes as 'A path', one a line.
func Brief(changes []Change) []string {
	lines := make([]string, 0, len(changes))
	for _, c := range changes {
		line := c.Kind.String() + " " + c.Path
		if c.Hardlink != "" {
			line += " = " + c.Hardlink
		}
		lines = append(lines, line)
	}
	return lines
}

// Format lists changes in full, one a line.
func Format(changes []Change) string {
	lines := make([]string, 0, len(changes))
	for _, c := range changes {
		lines = append(lines, c.String())
	}
	return strings.Join(lines, "\n")
}
