package diff

import (
	"errors"
	"io"
)

// ErrInvalidLayer says that a layer cannot be applied because of what it says,
// not because of what happened here: a malformed stream, an entry below a file,
// a hard link to nothing, a path that leaves the root.
var ErrInvalidLayer = errors.New("invalid layer")

// ErrNotCarried says that a file is one that no layer can hold: with more extended
// attributes than can be listed, or than fit into the header of a layer's entry.
var ErrNotCarried = errors.New("a layer cannot hold this file")

// Kind is the kind of a change.
type Kind uint8

// The kinds of change, with the letters in which they are listed.
const (
	// Add: the path exists only in the new tree.
	Add Kind = iota + 1
	// Modify: the path exists in both and differs.
	Modify
	// Delete: the path exists only in the old tree. Nothing below a deleted
	// path is listed.
	Delete
)

// String returns "A", "M" or "D".
func (k Kind) String() string {
	switch k {
	case Add:
		return "A"
	case Modify:
		return "M"
	case Delete:
		return "D"
	default:
		return "?"
	}
}

// A Change is one path that differs between two trees.
type Change struct {
	Kind Kind
	// Path is relative to the root, slash-separated, without a leading slash;
	// "." is the root itself.
	Path string
	// Node holds the attributes in the new tree; zero for Delete.
	Node Node
	// Linkname is the target of a symbolic link.
	Linkname string
	// Hardlink is the path, in the form of Path, of the first name of the same
	// inode in this sequence; empty for that first name and for files with one
	// name. When it is set, nothing but Path and Kind matters: the attributes
	// are those of the first name.
	Hardlink string
	// Xattrs are the extended attributes in the new tree.
	Xattrs map[string]string

	open func() (io.ReadCloser, error)
}

// Open opens the body of a regular file. It must be called before the next
// change of the sequence is asked for.
func (c Change) Open() (io.ReadCloser, error) {
	if c.open == nil {
		return nil, errors.New("change has no body: " + c.Path)
	}
	return c.open()
}

// WithBody returns the change with the given body, for sequences made elsewhere
// than in [Compare].
func (c Change) WithBody(open func() (io.ReadCloser, error)) Change {
	c.open = open
	return c
}

// Stats counts what a diff holds.
type Stats struct {
	Added, Modified, Deleted int64
	// Bytes is the length of the uncompressed stream written.
	Bytes int64
}
