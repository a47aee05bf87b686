package tar

import (
	"errors"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/internal/attrs"
	"github.com/layerkeep/layerkeep/internal/sys"
)

// A maker makes single files with their attributes. It knows what the kernel
// gives a new file by itself, and sets only what differs.
type maker struct {
	uid, gid    uint32 // of a new file here
	masked      uint32 // permission bits that a new file does not get
	userNS      bool
	noFchmodat2 bool
	warnLock    sync.Mutex
	warnFunc    func(path, message string)
	lost        *lostTimes // nil: times come from this file system
	dirfd       int        // where to try what the file system can hold
	probing     sync.Mutex
}

// probeName starts as a marker does, so no entry of a layer ever has it.
const probeName = ".wh..probe"

// Names for what is tried while files are made, by several at a time: each has
// one of its own, and a lock for those who use it.
const (
	timeProbeName  = ".wh..probe-time"
	xattrProbeName = ".wh..probe-xattr"
)

// newMaker finds out by making a file: umask(2), a default ACL or a setgid bit
// of the directory have their say in what a new file gets.
func newMaker(dirfd int, opts UnpackOptions) (*maker, error) {
	m := &maker{userNS: opts.UserNS, noFchmodat2: opts.NoFchmodat2, warnFunc: opts.Warn, lost: &lostTimes{dirfd: dirfd}, dirfd: dirfd}
	err := tryOn(dirfd, probeName, 0o777, func(fd int) error {
		st, err := sys.Fstat(fd)
		m.uid, m.gid, m.masked = st.Uid, st.Gid, 0o777&^st.Mode
		return err
	})
	if err != nil {
		return nil, err
	}
	return m, nil
}

// tryOn calls try with an empty file of that name in a directory, which is
// removed after it.
func tryOn(dirfd int, name string, perm uint32, try func(fd int) error) error {
	fd, err := sys.Openat(dirfd, name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY, perm)
	if err != nil {
		return err
	}
	err = try(fd)
	_ = unix.Close(fd) // nothing was written to it
	if removed := sys.Unlinkat(dirfd, name); err == nil {
		err = removed
	}
	return err
}

func (m *maker) warn(path, message string) {
	if m.warnFunc != nil {
		m.warnLock.Lock()
		defer m.warnLock.Unlock()
		m.warnFunc(path, message)
	}
}

// file makes a regular file from a buffered body.
func (m *maker) file(j *job) error {
	fd, err := m.create(j)
	if err != nil {
		return err
	}
	for b := j.body; len(b) > 0 && err == nil; {
		var n int
		n, err = unix.Write(fd, b)
		if errors.Is(err, unix.EINTR) {
			n, err = 0, nil
		}
		b = b[max(n, 0):]
	}
	if err != nil {
		err = &os.PathError{Op: "write", Path: j.path, Err: err}
	}
	return m.complete(fd, j, j.attrs.Mode&^m.masked&0o777, err)
}

// create opens a new file with as much of its mode as it can be given at once.
func (m *maker) create(j *job) (int, error) {
	return sys.Openat(j.dir.fd, j.name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY, j.attrs.Mode&0o777)
}

// complete sets the attributes of a file that has the mode has, and closes it.
func (m *maker) complete(fd int, j *job, has uint32, err error) error {
	if err == nil {
		err = m.setOpen(fd, j.shown, &j.attrs, has)
	}
	if cerr := unix.Close(fd); cerr != nil && err == nil && !errors.Is(cerr, unix.EINTR) {
		err = &os.PathError{Op: "close", Path: j.shown(), Err: cerr}
	}
	return err
}

// setOpen sets the attributes of an open file. has is the mode the file has
// now.
func (m *maker) setOpen(fd int, path func() string, a *attributes, has uint32) error {
	return m.set(attrs.Open(fd), path, a, has, false)
}

// set gives a file its attributes. special is for one that must not be opened.
func (m *maker) set(f attrs.File, path func() string, a *attributes, has uint32, special bool) error {
	o := attrs.Options{OwnerFailed: explainOwner}
	if len(a.Xattrs) > 0 {
		o.XattrFailed = func(x attrs.Xattr, err error) error { return m.xattrError(path, a, &x, special, err) }
	}
	// This may make a file in the root directory, so it comes before that gets its
	// time.
	if err := m.noteTime(path, a.Mtime); err != nil {
		return err
	}
	return attrs.Set(f, &a.Attrs, attrs.Has{UID: m.uid, GID: m.gid, Mode: has}, o)
}

func (m *maker) noteTime(path func() string, t time.Time) error {
	if m.lost == nil {
		return nil
	}
	return m.lost.note(path, t)
}

// xattrError decides what an attribute that cannot be set means (A5).
func (m *maker) xattrError(path func() string, a *attributes, x *attrs.Xattr, special bool, err error) error {
	name := x.Name
	switch {
	case err == nil:
		return nil
	case special && len(name) > 5 && name[:5] == "user.":
		m.warn(path(), "extended attribute "+name+" is not possible on such a file, dropped")
		return nil
	case m.userNS && errors.Is(err, unix.EPERM):
		m.warn(path(), "extended attribute "+name+" is not allowed in a user namespace, dropped")
		return nil
	case m.userNS && errors.Is(err, unix.EINVAL) && isACL(name) && unmappedACL(x.Value) != "":
		m.warn(path(), "extended attribute "+name+" is about "+unmappedACL(x.Value)+", which the user namespace does not have, dropped")
		return nil
	default:
		return m.explainXattr(a, x, err)
	}
}

// symlink makes a symbolic link to j.body.
func (m *maker) symlink(j *job, target string) error {
	if err := sys.Symlinkat(target, j.dir.fd, j.name); err != nil {
		return err
	}
	return m.setNamed(j, diff.TypeSymlink)
}

// special makes a device, a fifo or a socket.
func (m *maker) special(j *job, typ uint32, dev uint64) error {
	if err := sys.Mknodat(j.dir.fd, j.name, typ|0o600, dev); err != nil {
		return err
	}
	return m.setNamed(j, typ)
}

// setNamed is setOpen for a file that must not be opened.
func (m *maker) setNamed(j *job, typ uint32) error {
	f := attrs.Named(j.dir.fd, j.name, m.noFchmodat2)
	if typ == diff.TypeSymlink {
		f = attrs.Link(j.dir.fd, j.name)
	}
	return m.set(f, j.shown, &j.attrs, 0o600&^m.masked, true)
}

// directory sets the attributes of a directory made before.
func (m *maker) directory(j *job) error {
	fd, err := sys.OpenDirat(j.dir.fd, j.name)
	if err != nil {
		return err
	}
	return m.complete(fd, j, attrs.UnknownMode, nil)
}
