package fstest

import (
	"fmt"
	"time"
)

// Op is what an [Edit] does.
type Op int

// The edits. Each works on Path, whose directory must exist.
const (
	// OpCreate makes a regular file with Body.
	OpCreate Op = iota + 1
	// OpWrite replaces the content of a regular file in place by Body.
	OpWrite
	// OpAppend adds Body to a regular file.
	OpAppend
	// OpMkdir makes a directory.
	OpMkdir
	// OpSymlink makes a symbolic link to To.
	OpSymlink
	// OpLink makes Path a hard link to the file To.
	OpLink
	// OpMknod makes a device or fifo as Mode and Rdev say.
	OpMknod
	// OpSocket makes a socket.
	OpSocket
	// OpChmod sets the permission bits.
	OpChmod
	// OpChown sets the owner and keeps the permission bits.
	OpChown
	// OpTouch sets the modification time.
	OpTouch
	// OpSetXattr sets the attribute Name to Body.
	OpSetXattr
	// OpRemoveXattr removes the attribute Name.
	OpRemoveXattr
	// OpRemove removes Path and all below it.
	OpRemove
	// OpRename renames Path to To, replacing what may be there as rename(2).
	OpRename
	// OpCopyUp opens a file for writing, or changes the mode of anything else
	// to what it is, and changes nothing.
	OpCopyUp
	// OpTruncate cuts a regular file to Size, or lengthens it with a hole.
	OpTruncate
	// OpPunch makes a hole of Size bytes at Offset in a regular file, whose
	// length stays.
	OpPunch
	// OpClone replaces the content of a regular file by that of the file To, in
	// shared blocks where the file system has them.
	OpClone
	// OpExchange makes Path and To change places.
	OpExchange
	// OpRead reads a file, a directory or a link, and changes nothing but the
	// time of access.
	OpRead
	// OpTouchAtime sets the time of access to now.
	OpTouchAtime
)

var opNames = map[Op]string{
	OpCreate: "create", OpWrite: "write", OpAppend: "append", OpMkdir: "mkdir", OpSymlink: "symlink",
	OpLink: "link", OpMknod: "mknod", OpSocket: "socket", OpChmod: "chmod", OpChown: "chown",
	OpTouch: "touch", OpSetXattr: "setxattr", OpRemoveXattr: "removexattr", OpRemove: "remove",
	OpRename: "rename", OpCopyUp: "copyup",
	OpTruncate: "truncate", OpPunch: "punch", OpClone: "clone", OpExchange: "exchange", OpRead: "read", OpTouchAtime: "touch -a",
}

func (op Op) String() string { return opNames[op] }

// movesNames reports whether the edit adds or removes names.
func (op Op) movesNames() bool {
	switch op {
	case OpCreate, OpMkdir, OpSymlink, OpLink, OpMknod, OpSocket, OpRemove, OpRename, OpExchange:
		return true
	default:
		return false
	}
}

// An Edit is one change of a mounted tree, as a value.
//
// So that the outcome can be predicted, no edit leaves a modification time to
// the clock: what was written, and the directories that gained or lost a name
// when TouchParents is set, get Mtime; directories keep theirs otherwise.
type Edit struct {
	Op   Op
	Path string
	// To is the target of a link, or the new name of a rename.
	To string
	// Name is the name of an extended attribute.
	Name string
	Body string
	// Mode holds the permission bits, and for OpMknod the type as in st_mode.
	Mode         uint32
	UID, GID     uint32
	Rdev         uint64
	Size, Offset int64
	Mtime        time.Time
	TouchParents bool
}

// String says the edit in one line.
func (e Edit) String() string {
	s := fmt.Sprintf("%s %q", e.Op, e.Path)
	switch e.Op {
	case OpSymlink, OpLink, OpRename, OpClone, OpExchange:
		s += fmt.Sprintf(" %q", e.To)
	case OpSetXattr, OpRemoveXattr:
		s += fmt.Sprintf(" %s=%q", e.Name, e.Body)
	case OpCreate, OpWrite, OpAppend:
		s += fmt.Sprintf(" body %q", Body(e.Body))
	case OpTruncate, OpPunch:
		s += fmt.Sprintf(" at %d size %d", e.Offset, e.Size)
	}
	return s + fmt.Sprintf(" mode %o owner %d:%d mtime %d.%09d touch %v",
		e.Mode, e.UID, e.GID, e.Mtime.Unix(), e.Mtime.Nanosecond(), e.TouchParents)
}

// EditTime is the modification time that the constructors below give.
var EditTime = time.Unix(1_500_000_000, 987_654_321)

// Create makes a file, root:root 0644.
func Create(path, body string) Edit {
	return Edit{Op: OpCreate, Path: path, Body: body, Mode: 0o644, Mtime: EditTime}
}

// Write replaces the content of a file.
func Write(path, body string) Edit { return Edit{Op: OpWrite, Path: path, Body: body, Mtime: EditTime} }

// Append adds to a file.
func Append(path, body string) Edit {
	return Edit{Op: OpAppend, Path: path, Body: body, Mtime: EditTime}
}

// Mkdir makes a directory, root:root 0755.
func Mkdir(path string) Edit { return Edit{Op: OpMkdir, Path: path, Mode: 0o755, Mtime: EditTime} }

// MakeSymlink makes a symbolic link.
func MakeSymlink(path, target string) Edit {
	return Edit{Op: OpSymlink, Path: path, To: target, Mtime: EditTime}
}

// MakeLink makes path another name of the file target.
func MakeLink(path, target string) Edit { return Edit{Op: OpLink, Path: path, To: target} }

// Mknod makes a device or a fifo.
func Mknod(path string, mode uint32, rdev uint64) Edit {
	return Edit{Op: OpMknod, Path: path, Mode: mode, Rdev: rdev, Mtime: EditTime}
}

// Socket makes a socket.
func Socket(path string) Edit { return Edit{Op: OpSocket, Path: path, Mode: 0o755, Mtime: EditTime} }

// Chmod sets the permission bits.
func Chmod(path string, mode uint32) Edit { return Edit{Op: OpChmod, Path: path, Mode: mode} }

// Chown sets the owner.
func Chown(path string, uid, gid uint32) Edit {
	return Edit{Op: OpChown, Path: path, UID: uid, GID: gid}
}

// Touch sets the modification time.
func Touch(path string, mtime time.Time) Edit { return Edit{Op: OpTouch, Path: path, Mtime: mtime} }

// SetXattr sets an extended attribute.
func SetXattr(path, name, value string) Edit {
	return Edit{Op: OpSetXattr, Path: path, Name: name, Body: value}
}

// RemoveXattr removes an extended attribute.
func RemoveXattr(path, name string) Edit { return Edit{Op: OpRemoveXattr, Path: path, Name: name} }

// Remove removes a path and all below it.
func Remove(path string) Edit { return Edit{Op: OpRemove, Path: path, Mtime: EditTime} }

// Rename renames a path.
func Rename(path, to string) Edit { return Edit{Op: OpRename, Path: path, To: to, Mtime: EditTime} }

// CopyUp makes a union file system copy the path up without a change.
func CopyUp(path string) Edit { return Edit{Op: OpCopyUp, Path: path} }

// Truncate cuts a file to a length, or lengthens it.
func Truncate(path string, size int64) Edit {
	return Edit{Op: OpTruncate, Path: path, Size: size, Mtime: EditTime}
}

// Punch makes a hole in a file.
func Punch(path string, offset, size int64) Edit {
	return Edit{Op: OpPunch, Path: path, Offset: offset, Size: size, Mtime: EditTime}
}

// Clone replaces the content of a file by that of another.
func Clone(path, from string) Edit { return Edit{Op: OpClone, Path: path, To: from, Mtime: EditTime} }

// Exchange makes two paths change places.
func Exchange(path, to string) Edit {
	return Edit{Op: OpExchange, Path: path, To: to, Mtime: EditTime}
}

// Read reads a path.
func Read(path string) Edit { return Edit{Op: OpRead, Path: path} }

// TouchAtime sets the time of access.
func TouchAtime(path string) Edit { return Edit{Op: OpTouchAtime, Path: path} }
