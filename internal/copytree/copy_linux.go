package copytree

import (
	"context"
	"errors"
	"os"
	"path"
	"time"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/rootfd"
	"github.com/layerkeep/layerkeep/internal/sys"
	"github.com/layerkeep/layerkeep/internal/whiteout"
)

// copier copies one tree.
type copier struct {
	ctx  context.Context //nolint:containedctx // lives as long as the call
	opts Options
	root *rootfd.Dir // of the copy
	// links has where the first name of a file with several was copied to.
	links map[[2]uint64]string
	buf   []byte
}

// Copy copies what is in src, and the attributes of src itself, into the
// existing empty directory dst.
func Copy(ctx context.Context, src, dst *rootfd.Dir, opts Options) error {
	if opts.Made == nil {
		opts.Made = func(string, uint64) {}
	}
	c := &copier{ctx: ctx, opts: opts, root: dst, links: map[[2]uint64]string{}}
	st, err := src.Stat()
	if err != nil {
		return err
	}
	return c.dir(src, dst.Fd(), st, ".")
}

// dir copies what is in src, and then, last since children change them, the
// attributes of src itself.
func (c *copier) dir(src *rootfd.Dir, dst int, st rootfd.Stat, at string) error {
	own, err := sys.Fstat(dst)
	if err != nil {
		return err
	}
	c.opts.Made(at, own.Ino)
	names, err := src.Names()
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		if err := c.child(src, dst, name, path.Join(at, name)); err != nil {
			return err
		}
	}
	attrs, err := src.Xattrs()
	if err != nil {
		return err
	}
	if c.opts.Stubs && st.Ino == 2 { // BTRFS_EMPTY_SUBVOL_DIR_OBJECTID
		st.Mtime = time.Unix(0, 0)
	}
	return setOpen(dst, st, attrs)
}

func (c *copier) child(src *rootfd.Dir, dst int, name, at string) error {
	st, err := src.Lookup(name)
	if err != nil {
		return err
	}
	if st.IsDir() {
		return c.subdir(src, dst, name, st, at)
	}
	if st.Nlink > 1 {
		key := [2]uint64{st.Dev, st.Ino}
		if first, ok := c.links[key]; ok {
			return c.link(first, dst, name)
		}
		c.links[key] = at
	}
	if st.IsRegular() {
		return c.regular(src, dst, name, st)
	}
	return c.special(src, dst, name, st)
}

func (c *copier) subdir(src *rootfd.Dir, dst int, name string, st rootfd.Stat, at string) error {
	if err := sys.Mkdirat(dst, name, 0o700); err != nil {
		return err
	}
	fd, err := sys.OpenDirat(dst, name)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	sub, err := src.OpenDir(name)
	if err != nil {
		return err
	}
	defer sub.Close()
	return c.dir(sub, fd, st, at)
}

func (c *copier) link(first string, dst int, name string) error {
	dir, err := c.root.OpenDirAt(path.Dir(first))
	if err != nil {
		return err
	}
	defer dir.Close()
	return sys.Linkat(dir.Fd(), path.Base(first), dst, name)
}

// special copies what has no body.
func (c *copier) special(src *rootfd.Dir, dst int, name string, st rootfd.Stat) error {
	attrs, err := src.LookupXattrs(name)
	if err != nil {
		return err
	}
	if st.IsSymlink() {
		target, err := src.Readlink(name)
		if err == nil {
			err = sys.Symlinkat(target, dst, name)
		}
		if err != nil {
			return err
		}
	} else if err := sys.Mknodat(dst, name, st.Type()|0o600, st.Rdev); err != nil {
		return err
	}
	if err := sys.Fchownat(dst, name, st.UID, st.GID); err != nil {
		return err
	}
	for attr, value := range attrs {
		if _, ok := whiteout.Plain.XattrToDisk(attr); !ok {
			continue
		}
		if err := sys.Lsetxattrat(dst, name, attr, []byte(value)); err != nil {
			return err
		}
	}
	if !st.IsSymlink() {
		if err := sys.Fchmodat(dst, name, st.Mode&0o7777, c.opts.NoFchmodat2); err != nil {
			return err
		}
	}
	times, err := timesOf(st)
	if err != nil {
		return err
	}
	return sys.Utimensat(dst, name, times)
}

func (c *copier) regular(src *rootfd.Dir, dst int, name string, st rootfd.Stat) (err error) {
	attrs, err := src.LookupXattrs(name)
	if err != nil {
		return err
	}
	in, err := src.Open(name)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := sys.Openat(dst, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := unix.Close(out); err == nil && cerr != nil {
			err = &os.PathError{Op: "close", Path: name, Err: cerr}
		}
	}()
	if err := c.body(in.Fd(), out, st.Size); err != nil {
		return &os.PathError{Op: "copy", Path: src.Path() + "/" + name, Err: err}
	}
	return setOpen(out, st, attrs)
}

// setOpen sets all attributes of an open file, in the order in which none undoes
// another: owner, extended attributes, mode, times.
func setOpen(fd int, st rootfd.Stat, attrs map[string]string) error {
	if err := sys.Fchown(fd, st.UID, st.GID); err != nil {
		return err
	}
	for attr, value := range attrs {
		if _, ok := whiteout.Plain.XattrToDisk(attr); !ok {
			continue
		}
		if err := sys.Fsetxattr(fd, attr, []byte(value)); err != nil {
			return err
		}
	}
	if err := sys.Fchmod(fd, st.Mode&0o7777); err != nil {
		return err
	}
	times, err := timesOf(st)
	if err != nil {
		return err
	}
	return sys.Futimens(fd, times)
}

// timesOf returns access and modification time to set; layers have no access times.
func timesOf(st rootfd.Stat) (*[2]unix.Timespec, error) {
	ts, err := unix.TimeToTimespec(st.Mtime)
	return &[2]unix.Timespec{ts, ts}, err
}

// isUnsupported reports errors after which the next slower way is tried.
func isUnsupported(err error) bool {
	for _, e := range []error{unix.EOPNOTSUPP, unix.ENOSYS, unix.EXDEV, unix.EINVAL, unix.ENOTTY, unix.EPERM} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
