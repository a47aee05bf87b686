package rootfd

import (
	"errors"
	"io/fs"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

const dirFlags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC | unix.O_NONBLOCK

// A Dir is an open directory for reading. Its methods may be called by several
// goroutines at once, except Close and the listing of names. It must be closed.
type Dir struct {
	fd   int
	path string // for error messages only
	tree *tree
}

// tree is what all Dirs below one Open share.
type tree struct {
	noOpenat2 bool
	noXattrat bool
}

// Open opens the directory at path. Symbolic links in path are followed: it is
// the caller's own path, not one out of the tree.
func Open(path string, opts Options) (*Dir, error) {
	return openRoot(unix.AT_FDCWD, path, path, opts)
}

// FromFile opens the directory that f is open on, which may be an O_PATH
// descriptor, once more. It does not close f.
func FromFile(f *os.File, opts Options) (*Dir, error) {
	d, err := openRoot(int(f.Fd()), ".", f.Name(), opts)
	runtime.KeepAlive(f)
	return d, err
}

func openRoot(at int, path, shown string, opts Options) (*Dir, error) {
	fd, err := openat(at, path, dirFlags&^unix.O_NOFOLLOW)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: shown, Err: err}
	}
	t := &tree{noOpenat2: opts.NoOpenat2, noXattrat: opts.NoXattrat || !haveXattrat()}
	return &Dir{fd: fd, path: shown, tree: t}, nil
}

// Fd returns the descriptor, which stays the Dir's own. Its file offset is that
// of the listing.
func (d *Dir) Fd() int { return d.fd }

// Path returns the path by which the directory was opened, for messages.
func (d *Dir) Path() string { return d.path }

// Close closes the descriptor. A second call does nothing.
func (d *Dir) Close() error {
	if d.fd < 0 {
		return nil
	}
	fd := d.fd
	d.fd = -1
	return d.wrap("close", "", unix.Close(fd))
}

// Stat returns the attributes of the directory itself.
func (d *Dir) Stat() (Stat, error) {
	var st unix.Stat_t
	err := retry(func() error { return unix.Fstat(d.fd, &st) })
	if err != nil {
		return Stat{}, d.wrap("stat", "", err)
	}
	return fromStat(&st), nil
}

// Lookup returns the attributes of a child, as lstat(2). A missing one gives an
// error that matches [fs.ErrNotExist].
func (d *Dir) Lookup(name string) (Stat, error) {
	var st unix.Stat_t
	if err := checkName(name); err != nil {
		return Stat{}, d.wrap("lstat", name, err)
	}
	if err := retry(func() error { return unix.Fstatat(d.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) }); err != nil {
		return Stat{}, d.wrap("lstat", name, err)
	}
	return fromStat(&st), nil
}

// Readlink returns the target of a symbolic link.
func (d *Dir) Readlink(name string) (string, error) {
	if err := checkName(name); err != nil {
		return "", d.wrap("readlink", name, err)
	}
	// The kernel holds targets below PATH_MAX; some file systems allow exactly that.
	buf := make([]byte, 256)
	for {
		n, err := retryInt(func() (int, error) { return unix.Readlinkat(d.fd, name, buf) })
		switch {
		case err != nil:
			return "", d.wrap("readlink", name, err)
		case n < len(buf):
			return string(buf[:n]), nil
		}
		buf = make([]byte, 2*len(buf))
	}
}

// OpenDir opens a child directory; a symbolic link gives ENOTDIR.
func (d *Dir) OpenDir(name string) (*Dir, error) {
	if err := checkName(name); err != nil {
		return nil, d.wrap("open", name, err)
	}
	fd, err := openat(d.fd, name, dirFlags)
	if err != nil {
		if errors.Is(err, unix.ELOOP) {
			err = unix.ENOTDIR
		}
		return nil, d.wrap("open", name, err)
	}
	return &Dir{fd: fd, path: d.join(name), tree: d.tree}, nil
}

func (d *Dir) join(name string) string {
	if name == "" {
		return d.path
	}
	return d.path + "/" + name
}

func (d *Dir) wrap(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: d.join(name), Err: err}
}

func openat(at int, path string, flags int) (fd int, err error) {
	err = retry(func() error {
		fd, err = unix.Openat(at, path, flags, 0)
		return err
	})
	return fd, err
}

// retry repeats a call that a signal interrupted, which happens on network and
// FUSE file systems.
func retry(call func() error) error {
	for {
		if err := call(); err != unix.EINTR { //nolint:errorlint // a bare errno
			return err
		}
	}
}

// retryInt is retry for a call that returns a number.
func retryInt(call func() (int, error)) (n int, err error) {
	err = retry(func() error {
		n, err = call()
		return err
	})
	return n, err
}

func fromStat(st *unix.Stat_t) Stat {
	return Stat{
		Mode: st.Mode, UID: st.Uid, GID: st.Gid,
		Size: st.Size, Rdev: uint64(st.Rdev), //nolint:unconvert // 32 bits on some architectures
		Dev: uint64(st.Dev), Ino: st.Ino, //nolint:unconvert // same
		Nlink: uint64(st.Nlink), Blocks: st.Blocks, //nolint:unconvert // same
		Mtime: time.Unix(int64(st.Mtim.Sec), int64(st.Mtim.Nsec)), //nolint:unconvert // same
		Ctime: time.Unix(int64(st.Ctim.Sec), int64(st.Ctim.Nsec)), //nolint:unconvert // same
	}
}
