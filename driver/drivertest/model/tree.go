package model

import (
	"maps"
	"slices"
	"time"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/internal/fstest"
)

// inode is one file; a hard link is a second pointer to it.
type inode struct {
	// mode is type and permission bits, as st_mode.
	mode     uint32
	uid, gid uint32
	mtime    time.Time
	rdev     uint64
	body     string
	target   string
	xattrs   map[string]string
	// kids are the children of a directory, nil for everything else.
	kids map[string]*inode
}

func (i *inode) kind() uint32    { return i.mode & diff.TypeMask }
func (i *inode) isDir() bool     { return i.kind() == diff.TypeDir }
func (i *inode) isSymlink() bool { return i.kind() == diff.TypeSymlink }

// impliedDir is a directory that no layer ever described.
func impliedDir() *inode {
	return &inode{mode: diff.TypeDir | 0o755, mtime: time.Unix(0, 0), kids: map[string]*inode{}}
}

// A Tree is a file system tree. The zero value is not usable; see [New].
type Tree struct {
	root *inode
	// own are the files made since the last Seal; all others are the parents'.
	own map[*inode]bool
	// breaks: see BreakHardlinks.
	breaks bool
}

// New returns the empty tree: a root directory, root:root 0755 with mtime 0.
func New() *Tree { return &Tree{root: impliedDir(), own: map[*inode]bool{}} }

// BreakHardlinks makes edits behave as in a union file system: to change a file
// of the parents by one of its names gives that name an inode of its own.
func (t *Tree) BreakHardlinks() { t.breaks = true }

// Seal ends a layer: from now on, all files are the parents'.
func (t *Tree) Seal() { t.own = map[*inode]bool{} }

// Clone returns a copy that shares nothing with t.
func (t *Tree) Clone() *Tree {
	done := map[*inode]*inode{}
	c := &Tree{root: t.root.clone(done), own: map[*inode]bool{}, breaks: t.breaks}
	for i := range t.own {
		if copied := done[i]; copied != nil {
			c.own[copied] = true
		}
	}
	return c
}

// clone copies an inode; done keeps names of one inode together.
func (i *inode) clone(done map[*inode]*inode) *inode {
	if c, ok := done[i]; ok {
		return c
	}
	c := new(inode)
	*c = *i
	done[i] = c
	c.xattrs = maps.Clone(i.xattrs)
	if i.kids != nil {
		c.kids = map[string]*inode{}
		for name, kid := range i.kids {
			c.kids[name] = kid.clone(done)
		}
	}
	return c
}

// names returns the names of the children, sorted bytewise.
func (i *inode) names() []string {
	return slices.Sorted(maps.Keys(i.kids))
}

// walk calls fn for every path, a directory before its children.
func (t *Tree) walk(fn func(path string, i *inode)) {
	fn(".", t.root)
	t.root.walk("", fn)
}

func (i *inode) walk(prefix string, fn func(string, *inode)) {
	for _, name := range i.names() {
		fn(prefix+name, i.kids[name])
		i.kids[name].walk(prefix+name+"/", fn)
	}
}

// links returns the names of each inode that is not a directory, in the order
// of a walk.
func (t *Tree) links() map[*inode][]string {
	links := map[*inode][]string{}
	t.walk(func(path string, i *inode) {
		if !i.isDir() {
			links[i] = append(links[i], path)
		}
	})
	return links
}

// Snapshot returns the tree in the form in which trees are compared.
func (t *Tree) Snapshot() fstest.Tree {
	tree, links := fstest.Tree{}, t.links()
	t.walk(func(path string, i *inode) {
		n := i.node()
		if len(links[i]) > 1 {
			n.Link = links[i][0]
		}
		tree[path] = n
	})
	return tree
}

func (i *inode) node() fstest.Node {
	n := fstest.Node{
		Mode: i.mode, UID: i.uid, GID: i.gid, Mtime: i.mtime, Rdev: i.rdev,
		Target: i.target, Xattrs: maps.Clone(i.xattrs),
	}
	switch i.kind() {
	case diff.TypeRegular:
		n.Size, n.Body = int64(len(i.body)), fstest.Body(i.body)
	case diff.TypeSymlink:
		n.Mode |= 0o777
	}
	return n
}
