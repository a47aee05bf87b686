package rootfd

import (
	"errors"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/sys"
)

const dirFlags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC | unix.O_NONBLOCK

// A Dir is a directory that is open for reading. Several goroutines may call
// its methods at once, except Close and the methods that list names. The caller
// must close it.
//
// A walk through a tree of any depth holds few descriptors, see held.
type Dir struct {
	tree *tree
	// at and name say where the directory was opened. For a root, at is nil and
	// name is its path.
	at   *Dir
	name string
	// up is the directory above it, or nil if that is not known.
	up *Dir

	// use is read-locked while fd is used, and locked to close fd or open it again.
	use    sync.RWMutex
	fd     int // -1: closed, or released
	closed bool
	// kept: a caller has the descriptor, so it must not be closed.
	kept atomic.Bool
	// id identifies the directory after its descriptor was released.
	id sys.Identity
	// below is an open directory inside it, through which it can be opened again.
	below *Dir
}

// tree has the state that all Dirs below one Open share.
type tree struct {
	noOpenat2 bool
	noXattrat bool
	held      held
}

// Open opens the directory at path. It follows symbolic links in path, because
// path comes from the caller and not from the tree.
func Open(path string, opts Options) (*Dir, error) {
	return openRoot(unix.AT_FDCWD, path, path, opts)
}

// FromFile opens again the directory that f is open on. f may be an O_PATH
// descriptor. FromFile does not close f.
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
	return &Dir{fd: fd, name: shown, tree: t}, nil
}

// Fd returns the descriptor, or -1 if it cannot be opened again. The Dir still
// owns it. Its file offset is that of the listing. The Dir keeps the descriptor
// until it is closed. So a walk that calls Fd for every directory holds as many
// descriptors as the tree is deep. Use does not have this cost.
func (d *Dir) Fd() int {
	if d.acquire() != nil {
		return -1
	}
	defer d.use.RUnlock()
	d.kept.Store(true)
	return d.fd
}

// Use calls fn with the descriptor. The descriptor belongs to the Dir and stays
// open until fn returns. fn must not use the Dir in another way.
func (d *Dir) Use(fn func(fd int) error) error {
	if err := d.acquire(); err != nil {
		return d.wrap("open", "", err)
	}
	defer d.use.RUnlock()
	return fn(d.fd)
}

// with is Use for the methods of this package, which add the operation to the
// error themselves.
func (d *Dir) with(call func(fd int) error) error {
	if err := d.acquire(); err != nil {
		return err
	}
	defer d.use.RUnlock()
	return retry(func() error { return call(d.fd) })
}

// Path returns the path by which the directory was opened, for messages. The
// middle of a very long path is cut out.
func (d *Dir) Path() string { return d.join("") }

// Below returns the path by which the directory was opened from top, and "."
// for top itself. Both may be closed. The path can be long, so a walk of a deep
// tree should call Below only when it needs the path.
func (d *Dir) Below(top *Dir) string {
	var names []string
	for ; d != top && d.at != nil; d = d.at {
		names = append(names, d.name)
	}
	if len(names) == 0 {
		return "."
	}
	slices.Reverse(names)
	return strings.Join(names, "/")
}

// Close closes the descriptor. A second call does nothing.
func (d *Dir) Close() error {
	d.leaveTree()
	d.use.Lock()
	defer d.use.Unlock()
	d.closed = true
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
	if err := d.with(func(fd int) error { return unix.Fstat(fd, &st) }); err != nil {
		return Stat{}, d.wrap("stat", "", err)
	}
	return fromStat(&st), nil
}

// Lookup returns the attributes of a child, as lstat(2) does. A missing child
// gives an error that matches [fs.ErrNotExist].
func (d *Dir) Lookup(name string) (Stat, error) {
	var st unix.Stat_t
	if err := checkName(name); err != nil {
		return Stat{}, d.wrap("lstat", name, err)
	}
	if err := d.with(func(fd int) error { return unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) }); err != nil {
		return Stat{}, d.wrap("lstat", name, err)
	}
	return fromStat(&st), nil
}

// Readlink returns the target of a symbolic link.
func (d *Dir) Readlink(name string) (string, error) {
	if err := checkName(name); err != nil {
		return "", d.wrap("readlink", name, err)
	}
	// The targets that the kernel stores are shorter than PATH_MAX. Some file
	// systems allow exactly PATH_MAX.
	buf := make([]byte, 256)
	for {
		var n int
		err := d.with(func(fd int) (err error) {
			n, err = unix.Readlinkat(fd, name, buf)
			return err
		})
		switch {
		case err != nil:
			return "", d.wrap("readlink", name, err)
		case n < len(buf):
			return string(buf[:n]), nil
		}
		buf = make([]byte, 2*len(buf))
	}
}

// OpenDir opens a child directory. A symbolic link gives ENOTDIR.
func (d *Dir) OpenDir(name string) (*Dir, error) {
	if err := checkName(name); err != nil {
		return nil, d.wrap("open", name, err)
	}
	fd := -1
	err := d.with(func(at int) (err error) {
		fd, err = openat(at, name, dirFlags)
		return err
	})
	if err != nil {
		if errors.Is(err, unix.ELOOP) {
			err = unix.ENOTDIR
		}
		return nil, d.wrap("open", name, err)
	}
	child := &Dir{fd: fd, at: d, name: name, up: d, tree: d.tree}
	d.tree.held.add(child)
	return child, nil
}

// maxShown is the largest length of a path in an error, in bytes.
const maxShown = 4000

// join returns the path of a name in the directory. For an empty name it
// returns the path of the directory.
func (d *Dir) join(name string) string {
	var names []string
	if name != "" {
		names = append(names, name)
	}
	length, cut := 0, false
	for ; d.at != nil; d = d.at {
		if length += len(d.name) + 1; length <= maxShown {
			names = append(names, d.name)
		} else {
			cut = true
		}
	}
	if cut {
		names = append(names, "…")
	}
	names = append(names, d.name)
	slices.Reverse(names)
	return strings.Join(names, "/")
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

// retry repeats a call that a signal interrupted. This happens on network and
// FUSE file systems.
func retry(call func() error) error {
	for {
		if err := call(); err != unix.EINTR { //nolint:errorlint // a bare errno
			return err
		}
	}
}

// retryInt does the same as retry for a call that returns a number.
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
