package difftest

import (
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/internal/fstest"
)

// Changes returns the changes that turn old into new. It holds both trees in
// memory and follows the definition word for word. A nil old is the empty tree.
// The changes have no content, and their Nodes have no inode numbers and link
// counts.
func Changes(old, new fstest.Tree) []diff.Change {
	if old == nil {
		old = fstest.Tree{".": {Mode: diff.TypeDir | 0o755, Mtime: time.Unix(0, 0)}}
	}
	o := &oracle{old: old, new: withoutUnfit(new), all: new, first: map[string]string{}}
	o.findWritten()
	if attributesDiffer(old["."], new["."]) {
		o.add(diff.Modify, ".")
	}
	o.dir(".")
	return o.changes
}

type oracle struct {
	old, new, all fstest.Tree
	written       map[string]bool   // files in the diff that are not directories
	first         map[string]string // by Node.Link: the first name, which is yielded in full
	changes       []diff.Change
}

// dir adds the changes in one directory.
func (o *oracle) dir(dir string) {
	for _, p := range children(o.old, dir) {
		if _, stays := o.new[p]; !stays && !reserved(p) && !(unfit(o.old[p]) && has(o.all, p)) {
			o.changes = append(o.changes, diff.Change{Kind: diff.Delete, Path: p})
		}
	}
	for _, p := range children(o.new, dir) {
		switch {
		case !has(o.old, p):
			o.add(diff.Add, p)
		case o.written[p] || o.new[p].Type() == diff.TypeDir && attributesDiffer(o.old[p], o.new[p]):
			o.add(diff.Modify, p)
		}
		if o.new[p].Type() == diff.TypeDir {
			o.dir(p)
		}
	}
}

// findWritten finds the files of new that are in the diff and are not
// directories.
func (o *oracle) findWritten() {
	o.written = map[string]bool{}
	var files []string
	for p, n := range o.new {
		if n.Type() != diff.TypeDir {
			files = append(files, p)
		}
	}
	// Files that differ themselves, and names that are linked now and were not.
	for _, p := range files {
		if !has(o.old, p) || attributesDiffer(o.old[p], o.new[p]) {
			o.written[p] = true
		}
		for _, r := range files {
			if r != p && linked(o.new, p, r) && !linked(o.old, p, r) {
				o.written[p] = true
			}
		}
	}
	// Names that are now linked with a name in the diff.
	for _, p := range files {
		for _, r := range files {
			if o.written[r] && linked(o.new, p, r) {
				o.written[p] = true
			}
		}
	}
	// Names that were linked, and are not any more, with a name that would also be
	// left out.
	var split []string
	for _, p := range files {
		for _, r := range files {
			if r != p && !o.written[p] && !o.written[r] && linked(o.old, p, r) && !linked(o.new, p, r) {
				split = append(split, p)
			}
		}
	}
	for _, p := range split {
		o.written[p] = true
	}
}

func (o *oracle) add(kind diff.Kind, p string) {
	n := o.new[p]
	c := diff.Change{Kind: kind, Path: p, Linkname: n.Target, Xattrs: n.Xattrs, Node: diff.Node{
		Mode: n.Mode, UID: n.UID, GID: n.GID, Size: n.Size, Rdev: n.Rdev, Mtime: n.Mtime,
	}}
	if n.Link != "" {
		if first, ok := o.first[n.Link]; ok {
			c.Hardlink = first
		} else {
			o.first[n.Link] = p
		}
	}
	o.changes = append(o.changes, c)
}

func linked(t fstest.Tree, p, r string) bool {
	return t[p].Link != "" && t[p].Link == t[r].Link
}

// attributesDiffer compares everything except the links. For a directory it
// does not compare the size.
func attributesDiffer(a, b fstest.Node) bool {
	return a.Mode != b.Mode || a.UID != b.UID || a.GID != b.GID || !a.Mtime.Equal(b.Mtime) ||
		a.Size != b.Size || a.Body != b.Body || a.Target != b.Target || a.Rdev != b.Rdev ||
		!maps.Equal(a.Xattrs, b.Xattrs)
}

func has(t fstest.Tree, p string) bool {
	_, ok := t[p]
	return ok
}

// children returns the paths directly in a directory, sorted.
func children(t fstest.Tree, dir string) []string {
	var list []string
	for p := range t {
		if p != "." && path.Dir(p) == dir {
			list = append(list, p)
		}
	}
	slices.Sort(list)
	return list
}

// withoutUnfit returns the tree without the files that a layer cannot contain.
func withoutUnfit(t fstest.Tree) fstest.Tree {
	fit := fstest.Tree{}
	for p, n := range t {
		if !unfit(n) && !reserved(p) {
			fit[p] = n
		}
	}
	return fit
}

func unfit(n fstest.Node) bool {
	return n.Type() == diff.TypeSocket || n.Type() == diff.TypeChar && n.Rdev == 0
}

func reserved(p string) bool {
	return strings.HasPrefix(p, ".wh.") || strings.Contains(p, "/.wh.")
}
