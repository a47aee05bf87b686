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

// A maker makes single files and sets their attributes. It skips attributes
// that the kernel already sets correctly on a new file.
type maker struct {
	uid, gid    uint32 // that the kernel gives a new file here
	masked      uint32 // permission bits that the kernel removes from a new file
	userNS      bool
	noFchmodat2 bool
	warnLock    sync.Mutex
	warnFunc    func(path, message string)
	lost        *lostTimes // nil if the times come from this file system
	dirfd       int        // the directory for probe files
	probing     sync.Mutex
}

// probeName starts with the prefix of markers, so no entry of a layer can have
// this name.
const probeName = ".wh..probe"

// Several goroutines may probe while files are made. Each kind of probe has a
// name of its own and a lock of its own.
const (
	timeProbeName  = ".wh..probe-time"
	xattrProbeName = ".wh..probe-xattr"
)

// newMaker makes a file to learn what the kernel gives a new file here. The
// answer depends on umask(2), and on a default ACL or a setgid bit of the
// directory.
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

// tryOn makes an empty file with this name in a directory, calls try with it,
// and removes it.
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

// create makes and opens a file. It passes as much of the mode as open(2) can
// set.
func (m *maker) create(j *job) (int, error) {
	return sys.Openat(j.dir.fd, j.name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY, j.attrs.Mode&0o777)
}

// complete sets the attributes of an open file and closes it. has is the mode
// that the file has now. If err is not nil, complete only closes the file and
// returns err.
func (m *maker) complete(fd int, j *job, has uint32, err error) error {
	if err == nil {
		err = m.setOpen(fd, j.shown, &j.attrs, has)
	}
	if cerr := unix.Close(fd); cerr != nil && err == nil && !errors.Is(cerr, unix.EINTR) {
		err = &os.PathError{Op: "close", Path: j.shown(), Err: cerr}
	}
	return err
}

// setOpen sets the attributes of an open file. has is the mode that the file
// has now.
func (m *maker) setOpen(fd int, path func() string, a *attributes, has uint32) error {
	return m.set(attrs.Open(fd), path, a, has, false)
}

// set sets the attributes of a file. special is true for a file that must not
// be opened.
func (m *maker) set(f attrs.File, path func() string, a *attributes, has uint32, special bool) error {
	o := attrs.Options{OwnerFailed: explainOwner}
	if len(a.Xattrs) > 0 {
		o.XattrFailed = func(x attrs.Xattr, err error) error { return m.xattrError(path, a, &x, special, err) }
	}
	// noteTime may make a probe file in the root directory, which changes the mtime
	// of the root. So it runs before the times are set.
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

// xattrError decides whether a failure to set an extended attribute is an error
// or only a warning (A5).
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

// symlink makes a symbolic link to target.
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

// setNamed does the same as setOpen for a file that must not be opened.
func (m *maker) setNamed(j *job, typ uint32) error {
	f := attrs.Named(j.dir.fd, j.name, m.noFchmodat2)
	if typ == diff.TypeSymlink {
		f = attrs.Link(j.dir.fd, j.name)
	}
	return m.set(f, j.shown, &j.attrs, 0o600&^m.masked, true)
}

// directory sets the attributes of a directory that already exists.
func (m *maker) directory(j *job) error {
	fd, err := sys.OpenDirat(j.dir.fd, j.name)
	if err != nil {
		return err
	}
	return m.complete(fd, j, attrs.UnknownMode, nil)
}
