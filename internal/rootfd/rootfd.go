// Package rootfd reads a directory tree through descriptors.
//
// A [Dir] is an open directory. Its methods take one path component relative to
// it, except OpenDirAt and LookupAt, which take a path. They never follow
// symbolic links, and open only regular files and directories. So a hostile
// tree, even one that a program is changing at this moment, cannot lead a
// reader out of the tree or make it block.
//
// The package does not write (package sys does). It does not know whiteouts: it
// shows what is on disk, including all extended attributes.
//
//	d, err := rootfd.Open("/var/lib/x", rootfd.Options{})
//	names, err := d.Names()
//	st, err := d.Lookup(names[0])
package rootfd

import (
	"errors"
	"strings"
	"time"
)

// Options tune how a tree is read. They apply to the Dir that Open returns and
// to all Dirs below it.
type Options struct {
	// NoOpenat2 resolves paths component by component, as on kernels before 5.6.
	NoOpenat2 bool
	// NoXattrat reads extended attributes through /proc/self/fd, as on kernels
	// before 6.13.
	NoXattrat bool
}

// A Stat has the attributes that stat(2) returns for a file.
type Stat struct {
	// Mode is st_mode: file type and permission bits.
	Mode     uint32
	UID, GID uint32
	Size     int64
	Rdev     uint64
	Dev, Ino uint64
	Nlink    uint64
	// Blocks is the allocated space in units of 512 bytes.
	Blocks       int64
	Mtime, Ctime time.Time
}

// File types in Stat.Mode and Entry.Type, see inode(7).
const (
	TypeMask    = 0o170000
	TypeSymlink = 0o120000
	TypeRegular = 0o100000
	TypeDir     = 0o040000
	TypeChar    = 0o020000
)

// Type returns the file type bits of the mode.
func (s Stat) Type() uint32 { return s.Mode & TypeMask }

// IsDir reports whether the file is a directory.
func (s Stat) IsDir() bool { return s.Type() == TypeDir }

// IsRegular reports whether the file is a regular file.
func (s Stat) IsRegular() bool { return s.Type() == TypeRegular }

// IsSymlink reports whether the file is a symbolic link.
func (s Stat) IsSymlink() bool { return s.Type() == TypeSymlink }

// An Entry is one name in the listing of getdents64(2).
type Entry struct {
	Name string
	// Type is the file type bits of a mode. It is 0 if the file system does not say
	// the type.
	Type uint32
	Ino  uint64
}

// errName says that a name is not a single path component.
var errName = errors.New("not a plain file name")

// checkName returns an error for a name that could lead out of a directory.
func checkName(name string) error {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
		return errName
	}
	return nil
}
