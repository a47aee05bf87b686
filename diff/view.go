package diff

import (
	"io"
	"time"
)

// A View is one tree as a container would see it: whiteouts, opaque marks,
// redirects and the other encodings of a backend are resolved.
//
// Views are read-only and may be walked by one goroutine at a time. Closing a
// View does not close the Dirs obtained from it.
type View interface {
	// Root opens the root directory. The caller closes it.
	Root() (Dir, error)
	// Close releases what the View holds, descriptors above all.
	Close() error
}

// A Dir is one open directory of a View. Every name is a single path component;
// a Dir never follows symbolic links and never leaves its directory. A missing
// name gives an error that matches [io/fs.ErrNotExist].
type Dir interface {
	// Stat returns the attributes of the directory itself.
	Stat() (Node, error)
	// Xattrs returns the extended attributes of the directory itself.
	Xattrs() (map[string]string, error)
	// Names lists the children, sorted bytewise, without "." and "..".
	Names() ([]string, error)
	// Lookup returns the attributes of a child, as lstat(2).
	Lookup(name string) (Node, error)
	// LookupXattrs returns the extended attributes of a child, without those
	// that belong to the backend's encoding and without security.selinux.
	LookupXattrs(name string) (map[string]string, error)
	// Readlink returns the target of a symbolic link.
	Readlink(name string) (string, error)
	// Open opens the body of a regular file for reading.
	Open(name string) (io.ReadCloser, error)
	// OpenDir opens a child directory. The caller closes it.
	OpenDir(name string) (Dir, error)
	Close() error
}

// A Hinter is a Dir that knows, without reading its parents, where a change can
// be. [Compare] asks it before listing both sides. Default without it: every
// name on either side is a candidate.
type Hinter interface {
	// Hints returns the candidates of this directory, sorted by name, names that
	// only the old side holds included. All other names are the same on both
	// sides, their subtrees included; same as what the old side has at the same
	// path, so a directory that was moved here, or put in the place of another,
	// has no hints for what it holds. Two of these names are links of each other
	// on both sides or on none. ok is false when nothing is known and every
	// name, here and below, has to be compared. Compare may ask twice.
	Hints() (hints []Hint, ok bool, err error)
}

// A Hint names a child that may differ from the old side.
type Hint struct {
	Name string
	// Descend says that the child is a directory whose own attributes are
	// known to be unchanged, and only what is below it may differ.
	Descend bool
}

// A Linker is a View that finds all names of a file without walking the tree.
// Default without it: Compare walks the tree when it has to know them.
type Linker interface {
	// Links returns the paths of all names that the View shows of a
	// non-directory of it, in no particular order; ok is false when they are not
	// known. Of n only Dev and Ino are set.
	Links(n Node) (paths []string, ok bool, err error)
}

// A BodyMatcher is a Dir of the new side that can tell that a file has the
// content it has on the old side without reading either, because both share
// their blocks. Default without it: the content is read.
type BodyMatcher interface {
	// SameBody reports whether the regular file called name is known to have the
	// same content as in old, the directory at the same path on the old side.
	// False says nothing.
	SameBody(name string, old Dir) (bool, error)
}

// A Node is what stat(2) says of a file.
type Node struct {
	// Mode is st_mode: the file type and all twelve permission bits.
	Mode     uint32
	UID, GID uint32
	// Size is in bytes; of a symbolic link, the length of its target.
	Size int64
	// Rdev is the device number of a character or block device, as the
	// kernel encodes it in st_rdev.
	Rdev  uint64
	Mtime time.Time
	// Dev and Ino identify the inode within one View; two names of a View are
	// hard links of each other when both are equal.
	Dev, Ino uint64
	// Nlink is the link count. It may count names that the View does not show.
	Nlink uint64
}

// File types, as in the upper bits of st_mode (inode(7)).
const (
	TypeMask    = 0o170000
	TypeSocket  = 0o140000
	TypeSymlink = 0o120000
	TypeRegular = 0o100000
	TypeBlock   = 0o060000
	TypeDir     = 0o040000
	TypeChar    = 0o020000
	TypeFifo    = 0o010000
	// PermMask selects the permission bits with setuid, setgid and sticky.
	PermMask = 0o7777
)

// Type returns the file type bits of the mode.
func (n Node) Type() uint32 { return n.Mode & TypeMask }

// Perm returns the permission bits with setuid, setgid and sticky.
func (n Node) Perm() uint32 { return n.Mode & PermMask }

// IsDir reports whether the node is a directory.
func (n Node) IsDir() bool { return n.Type() == TypeDir }

// IsRegular reports whether the node is a regular file.
func (n Node) IsRegular() bool { return n.Type() == TypeRegular }

// IsSymlink reports whether the node is a symbolic link.
func (n Node) IsSymlink() bool { return n.Type() == TypeSymlink }

// IsDevice reports whether the node is a character or block device.
func (n Node) IsDevice() bool { return n.Type() == TypeChar || n.Type() == TypeBlock }
