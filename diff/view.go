package diff

import (
	"io"
	"time"
)

// A View reads one tree as a container would see it. Whiteouts, opaque marks,
// redirects and the other encodings of a backend are already resolved.
//
// A View is read-only. One goroutine at a time may walk it. Closing a View does
// not close the Dirs that came from it.
type View interface {
	// Root opens the root directory. The caller closes it.
	Root() (Dir, error)
	// Close releases the resources of the View, mainly file descriptors.
	Close() error
}

// A Dir is one open directory of a View. Every name is a single path component.
// A Dir never follows symbolic links and never leaves its directory. A missing
// name gives an error that matches io/fs.ErrNotExist.
type Dir interface {
	// Stat returns the attributes of the directory itself.
	Stat() (Node, error)
	// Xattrs returns the extended attributes of the directory itself.
	Xattrs() (map[string]string, error)
	// Names returns the names of the children, sorted by bytes, without "." and
	// "..".
	Names() ([]string, error)
	// Lookup returns the attributes of a child, as lstat(2) does.
	Lookup(name string) (Node, error)
	// LookupXattrs returns the extended attributes of a child. It leaves out
	// the attributes that belong to the encoding of the backend, and
	// security.selinux.
	LookupXattrs(name string) (map[string]string, error)
	// Readlink returns the target of a symbolic link.
	Readlink(name string) (string, error)
	// Open opens the content of a regular file for reading. The caller closes
	// it.
	Open(name string) (io.ReadCloser, error)
	// OpenDir opens a child directory. The caller closes it.
	OpenDir(name string) (Dir, error)
	Close() error
}

// A Hinter is a Dir that knows where its tree can differ from the old tree,
// without reading either. Compare asks it before it lists both directories.
// Without this interface every name on either side is compared.
type Hinter interface {
	// Hints returns the names in this directory that can differ from the old
	// tree, sorted by name. The list includes names that only the old tree has.
	//
	// All names that are not in the list are the same in both trees, with
	// everything below them. "The same" means the same as what the old tree has
	// at the same path: a directory that was moved here, or that replaced
	// another one, has no hints for its content. Two names that are not in the
	// list are hard links of each other in both trees or in none.
	//
	// ok is false when nothing is known: then every name here and below must be
	// compared. Compare may call Hints twice.
	Hints() (hints []Hint, ok bool, err error)
}

// A Hint is a child that can differ from the old tree.
type Hint struct {
	Name string
	// Descend says that the child is a directory with unchanged attributes, and
	// that only its content can differ.
	Descend bool
}

// A Linker is a View that finds all names of a file without walking the tree.
// Without this interface Compare walks the tree when it needs the names.
type Linker interface {
	// Links returns the paths of all names that the View has for one
	// non-directory, in no particular order. Only Dev and Ino of n are set. ok
	// is false when the names are not known.
	Links(n Node) (paths []string, ok bool, err error)
}

// A BodyMatcher is a Dir of the new tree that can tell, without reading, that a
// file has the same content as in the old tree: both share their blocks on
// disk. Without this interface Compare reads the content.
type BodyMatcher interface {
	// SameBody returns true when the regular file name is known to have the
	// same content as in old, the directory at the same path in the old tree.
	// False means that it is not known.
	SameBody(name string, old Dir) (bool, error)
}

// A Node has the attributes that stat(2) returns for a file.
type Node struct {
	// Mode is st_mode: the file type and all twelve permission bits.
	Mode     uint32
	UID, GID uint32
	// Size is in bytes. For a symbolic link it is the length of the target.
	Size int64
	// Rdev is the device number of a character or block device, in the kernel's
	// encoding of st_rdev.
	Rdev  uint64
	Mtime time.Time
	// Dev and Ino identify the inode within one View. Two names of a View are
	// hard links of each other when both numbers are equal.
	Dev, Ino uint64
	// Nlink is the link count. It may count names that the View does not have.
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
