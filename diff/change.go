package diff

import (
	"errors"
	"io"
)

// ErrInvalidLayer: the content of a layer is wrong, so it cannot be applied
// anywhere. Examples are a malformed stream, an entry below a file, a hard link
// to a missing file, and a path that leaves the root. An error of this machine,
// such as a full disk, never matches it.
var ErrInvalidLayer = errors.New("invalid layer")

// ErrNotCarried: no layer can contain this file. It has more extended
// attributes than the kernel can list, or than fit into the header of a layer's
// entry.
var ErrNotCarried = errors.New("a layer cannot hold this file")

// Kind is the kind of a change: [Add], [Modify] or [Delete].
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
	// Path is relative to the root, slash-separated, without a leading slash,
	// for example "etc/passwd". "." is the root itself.
	Path string
	// Node has the attributes in the new tree. It is zero for Delete.
	Node Node
	// Linkname is the target of a symbolic link.
	Linkname string
	// Hardlink is set for the second and further names of one inode in this
	// sequence. It is the Path of the first name. Then only Path and Kind have
	// a meaning: the attributes are those of the first name.
	Hardlink string
	// Xattrs are the extended attributes in the new tree.
	Xattrs map[string]string

	open func() (io.ReadCloser, error)
}

// Open opens the content of a regular file. Call it before you ask the sequence
// for the next change.
func (c Change) Open() (io.ReadCloser, error) {
	if c.open == nil {
		return nil, errors.New("change has no body: " + c.Path)
	}
	return c.open()
}

// WithBody returns the change with another function for [Change.Open]. Use it
// for a sequence that does not come from Compare.
func (c Change) WithBody(open func() (io.ReadCloser, error)) Change {
	c.open = open
	return c
}

// Stats counts the changes of a diff.
type Stats struct {
	Added, Modified, Deleted int64
	// Bytes is the length of the uncompressed stream that was written.
	Bytes int64
}
