package attrs

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/sys"
	"github.com/layerkeep/layerkeep/internal/whiteout"
)

// A File is what gets attributes: an open file or directory, or a name in an
// open directory, which is neither opened nor followed.
type File struct {
	fd          int
	name        string // empty for fd itself
	link        bool
	noFchmodat2 bool
}

// Open is an open file or directory.
func Open(fd int) File { return File{fd: fd} }

// Named is a name in an open directory that is no symbolic link. noFchmodat2
// makes it do without a system call of Linux 6.6, as older kernels have to.
func Named(dir int, name string, noFchmodat2 bool) File {
	return File{fd: dir, name: name, noFchmodat2: noFchmodat2}
}

// Link is a symbolic link in an open directory, which has no mode.
func Link(dir int, name string) File { return File{fd: dir, name: name, link: true} }

// Has is what a file has already, and so need not get.
type Has struct{ UID, GID, Mode uint32 }

// UnknownMode is the mode of a [Has] where it is not known. UnknownID is the
// same for an owner or a group; chown(2) has no such ID.
const (
	UnknownMode = ^uint32(0)
	UnknownID   = ^uint32(0)
)

// Unknown says that nothing is known of the file.
var Unknown = Has{UnknownID, UnknownID, UnknownMode}

// Options tune [Set]. The zero value sets everything and returns the first
// error.
type Options struct {
	// OwnerFailed explains the error of giving the file to an owner; nil leaves it
	// as it is.
	OwnerFailed func(uid, gid uint32, err error) error
	// XattrFailed decides what it means that an extended attribute could not be
	// set: with nil as its answer, the file goes without. Without it, it is an
	// error.
	XattrFailed func(x Xattr, err error) error
	// KeepTimes leaves the times as they are.
	KeepTimes bool
	// Thaw takes the flags of chattr(1) +i and +a away where they keep the owner
	// from being changed.
	Thaw bool
}

// Set gives the file the attributes.
func Set(f File, a *Attrs, has Has, o Options) error {
	if a.UID != has.UID || a.GID != has.GID {
		if err := f.chown(a, o); err != nil {
			return err
		}
	}
	for _, x := range a.Xattrs {
		err := f.setXattr(x)
		if err != nil && o.XattrFailed != nil {
			err = o.XattrFailed(x, err)
		}
		if err != nil {
			return err
		}
	}
	if !f.link && (a.Mode != has.Mode || a.HasACL()) {
		if err := f.chmod(a.Mode); err != nil {
			return err
		}
	}
	if o.KeepTimes {
		return nil
	}
	return f.SetTimes(a.Mtime)
}

// Replace is [Set] for an open file or directory of which nothing is known: of
// its extended attributes it keeps those that are the encoding's own marks.
func Replace(fd int, a *Attrs, enc whiteout.Encoding) error {
	f := Open(fd)
	if err := f.chown(a, Options{}); err != nil {
		return err
	}
	names, err := sys.Flistxattr(fd)
	if err != nil {
		return err
	}
	for _, onDisk := range names {
		if _, ours := enc.XattrFromDisk(onDisk); !ours || a.HasXattr(onDisk) {
			continue
		}
		if err := sys.Fremovexattr(fd, onDisk); err != nil {
			return err
		}
	}
	return Set(f, a, Has{a.UID, a.GID, UnknownMode}, Options{})
}

func (f File) chown(a *Attrs, o Options) error {
	err := f.giveTo(a.UID, a.GID)
	if o.Thaw && errors.Is(err, unix.EPERM) {
		if err := f.thaw(); err != nil {
			return err
		}
		err = f.giveTo(a.UID, a.GID)
	}
	if err != nil && o.OwnerFailed != nil {
		err = o.OwnerFailed(a.UID, a.GID, err)
	}
	return err
}

func (f File) giveTo(uid, gid uint32) error {
	if f.name == "" {
		return sys.Fchown(f.fd, uid, gid)
	}
	return sys.Fchownat(f.fd, f.name, uid, gid)
}

func (f File) thaw() error {
	if f.name == "" {
		return sys.Thaw(f.fd)
	}
	return sys.Thawat(f.fd, f.name)
}

func (f File) setXattr(x Xattr) error {
	if f.name == "" {
		return sys.Fsetxattr(f.fd, x.Name, []byte(x.Value))
	}
	return sys.Lsetxattrat(f.fd, f.name, x.Name, []byte(x.Value))
}

func (f File) chmod(mode uint32) error {
	if f.name == "" {
		return sys.Fchmod(f.fd, mode)
	}
	return sys.Fchmodat(f.fd, f.name, mode, f.noFchmodat2)
}

// SetTimes sets the time of the last modification, and that of the last access
// to the same.
func (f File) SetTimes(t time.Time) error {
	ts := unix.Timespec{Sec: t.Unix(), Nsec: int64(t.Nanosecond())}
	times := &[2]unix.Timespec{ts, ts}
	if f.name == "" {
		return sys.Futimens(f.fd, times)
	}
	return sys.Utimensat(f.fd, f.name, times)
}
