package tar

import (
	"strings"
	"sync/atomic"
)

// nodeKind is what path resolution has to know of a file.
type nodeKind uint8

const (
	kindDir nodeKind = iota
	kindSymlink
	kindOther
)

// A node is one file that the layer made. The tree of nodes is the applier's
// memory of the staging directory, so that nothing there is ever looked up.
type node struct {
	parent *node // nil for the root
	name   string
	kind   nodeKind
	depth  uint16

	// Of directories.
	explicit bool // an entry described it
	cut      bool // took the place of something else of this layer
	hidden   bool // aufs' pseudo-link directory and what is in it: not part of the layer
	dead     bool // has been removed

	// pending is set while a writer is at it, or at what waits for it.
	pending atomic.Bool
	after   []*job // to be done once it is there; guarded by writers.mu
	first   *node  // of a hard link: the name that the file was made under

	target string // of a symbolic link
	dir    *dirInfo
	want   *wanted // of Verify: what a file that is no directory must be; nil when not known
}

// dirInfo is what only directories have.
type dirInfo struct {
	children map[string]*node
	attrs    *attrs     // of the last own entry; nil when there was none
	handle   *dirHandle // while it is in the cache
}

func newDirNode(parent *node, name string) *node {
	n := &node{parent: parent, name: name, kind: kindDir, dir: &dirInfo{}}
	if parent != nil {
		n.depth = parent.depth + 1
	}
	return n
}

func (n *node) child(name string) *node {
	if n.dir == nil {
		return nil
	}
	return n.dir.children[name]
}

func (n *node) add(c *node) {
	if n.dir.children == nil {
		n.dir.children = map[string]*node{}
	}
	n.dir.children[c.name] = c
}

// path returns the path from the root, "." for the root itself.
func (n *node) path() string {
	if n.parent == nil {
		return "."
	}
	names := make([]string, n.depth)
	for ; n.parent != nil; n = n.parent {
		names[n.depth-1] = n.name
	}
	return strings.Join(names, "/")
}

// blind reports whether nothing of the parents can show in the directory,
// because of what the layer itself did there.
func (n *node) blind() bool {
	for ; n != nil; n = n.parent {
		if n.cut || n.hidden {
			return true
		}
	}
	return false
}

// within reports whether n is top or below it.
func (n *node) within(top *node) bool {
	for ; n != nil; n = n.parent {
		if n == top {
			return true
		}
	}
	return false
}
