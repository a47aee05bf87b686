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
// memory of the staging directory, so that little there is ever looked up.
// Nodes of directories stay; those of other files can be forgotten, see forget.
type node struct {
	parent *node // nil for the root
	name   string
	depth  int32
	length int32 // bytes of the path
	kind   nodeKind

	explicit bool // of a directory: an entry described it
	implied  bool // of a directory: none has yet, and it is to get a mark that says so
	cut      bool // of a directory: took the place of something else of this layer
	hidden   bool // aufs' pseudo-link directory and what is in it: not part of the layer
	dead     bool // has been removed
	// blind: nothing of the parents can show in the directory, because of what the
	// layer itself did there or above.
	blind bool

	*fileInfo          // of what is no directory
	dir       *dirInfo // of a directory
}

// fileInfo is what only files that are no directories have.
type fileInfo struct {
	// pending is set while a writer is at it, or at what waits for it.
	pending atomic.Bool
	after   []*job // to be done once it is there; guarded by writers.mu
	first   *node  // of a hard link: the name that the file was made under

	target string  // of a symbolic link
	want   *wanted // of Verify: what the file must be; nil when not known
}

// dirInfo is what only directories have.
type dirInfo struct {
	children children[*node]
	// absent: the parents have no directory at this path.
	absent bool
	// partial: the staging directory has files of which no node is kept.
	partial bool
	attrs   *attributes // of Verify: those of the last own entry; nil when there was none
	// kept is where Unpack keeps the attributes of the last own entry, less one.
	kept   int64
	handle *dirHandle // while it is in the cache
	mark   *mark      // once it was asked for, see reading.markOf
}

func (n *node) called() string { return n.name }

func newDirNode(parent *node, name string) *node {
	n := newNode(parent, name, kindDir)
	n.dir, n.fileInfo = &dirInfo{absent: parent != nil && parent.dir.absent}, nil
	return n
}

func newNode(parent *node, name string, kind nodeKind) *node {
	n := &node{parent: parent, name: name, kind: kind}
	if kind != kindDir {
		n.fileInfo = &fileInfo{}
	}
	if parent != nil {
		n.depth, n.length = parent.depth+1, parent.length+int32(len(name))
		if parent.parent != nil {
			n.length++ // the slash
		}
	}
	return n
}

// What a node takes, in bytes beside its names, with its place in the
// directory.
const (
	fileCost = 190
	dirCost  = 200
)

// cost is about how much memory a node takes, in bytes.
func (n *node) cost() int64 {
	switch {
	case n.implied:
		return dirCost + markCost + 2*int64(len(n.name))
	case n.dir != nil:
		return dirCost + int64(len(n.name))
	}
	return fileCost + int64(len(n.name)+len(n.target))
}

// child returns the node of a name, nil when there is none: reading.child also
// finds those that were forgotten.
func (n *node) child(name string) *node {
	if n.dir == nil {
		return nil
	}
	return n.dir.children.get(name)
}

func (n *node) add(c *node) { n.dir.children.put(c) }

// isAt reports whether two nodes are of one place: a file that was forgotten
// and found again has another node.
func (n *node) isAt(other *node) bool { return n.parent == other.parent && n.name == other.name }

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

// within reports whether n is top or below it.
func (n *node) within(top *node) bool {
	for ; n != nil && n.depth >= top.depth; n = n.parent {
		if n == top {
			return true
		}
	}
	return false
}
