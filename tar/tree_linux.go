package tar

import (
	"strings"
	"sync/atomic"
)

// A nodeKind is what path resolution must know of a file.
type nodeKind uint8

const (
	kindDir nodeKind = iota
	kindSymlink
	kindOther
)

// A node is one file that the layer made. The tree of nodes describes the
// staging directory in memory, so that the unpacker rarely has to look there.
// Nodes of directories stay until the end. Nodes of other files can be
// forgotten, see forget.
type node struct {
	parent *node // nil for the root
	name   string
	depth  int32
	length int32 // length of the path in bytes
	kind   nodeKind

	explicit bool // for a directory: an entry described it
	// For a directory: no entry has described it yet, so it gets a mark that says
	// so.
	implied bool
	cut     bool // for a directory: it replaced another file of this layer
	hidden  bool // the pseudo-link directory of aufs, or below it: not part of the layer
	dead    bool // the file was removed
	// blind: no file of the parents can show in this directory, because of a change
	// that the layer itself made here or above.
	blind bool

	*fileInfo          // nil for a directory
	dir       *dirInfo // nil for other files
}

// fileInfo has the fields for files that are not directories.
type fileInfo struct {
	// pending is true while a writer works on the file, or on a job that waits for
	// it.
	pending atomic.Bool
	after   []*job // jobs to run once the file exists; guarded by writers.mu
	first   *node  // for a hard link: the name under which the file was made

	target string  // for a symbolic link
	want   *wanted // for Verify: the expected file; nil if not known
}

// dirInfo has the fields for directories.
type dirInfo struct {
	children children[*node]
	// absent: the parents have no directory at this path.
	absent bool
	// partial: the staging directory has files whose nodes were forgotten.
	partial bool
	// For Verify: the attributes of the last entry of this directory; nil without
	// an entry.
	attrs *attributes
	// kept is the offset at which Unpack keeps the attributes of the last entry of
	// this directory, plus one. It is 0 without an entry.
	kept   int64
	handle *dirHandle // set while the cache has it
	mark   *mark      // set at the first use, see reading.markOf
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

// The memory of a node in bytes, without its names. It includes the slot in the
// directory above.
const (
	fileCost = 190
	dirCost  = 200
)

// cost returns about how much memory the node takes, in bytes.
func (n *node) cost() int64 {
	switch {
	case n.implied:
		return dirCost + markCost + 2*int64(len(n.name))
	case n.dir != nil:
		return dirCost + int64(len(n.name))
	}
	return fileCost + int64(len(n.name)+len(n.target))
}

// child returns the node of a name, or nil. It does not find nodes that were
// forgotten; reading.child does.
func (n *node) child(name string) *node {
	if n.dir == nil {
		return nil
	}
	return n.dir.children.get(name)
}

func (n *node) add(c *node) { n.dir.children.put(c) }

// isAt reports whether two nodes are for the same path. A file that was
// forgotten and recalled has a new node.
func (n *node) isAt(other *node) bool { return n.parent == other.parent && n.name == other.name }

// path returns the path from the root, and "." for the root itself.
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

// within reports whether n is top or is below it.
func (n *node) within(top *node) bool {
	for ; n != nil && n.depth >= top.depth; n = n.parent {
		if n == top {
			return true
		}
	}
	return false
}
