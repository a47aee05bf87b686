package copytree

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/attrs"
	"github.com/layerkeep/layerkeep/internal/rootfd"
	"github.com/layerkeep/layerkeep/internal/sys"
	"github.com/layerkeep/layerkeep/internal/whiteout"
)

// copier copies one tree.
type copier struct {
	ctx  context.Context //nolint:containedctx // lives as long as the call
	opts Options
	from *rootfd.Dir // the root of the original
	root *rootfd.Dir // the root of the copy
	path []byte      // of the current directory; empty for the root
	// links has, for each file with several names, the place of its first name.
	links map[[2]uint64]place
	buf   []byte
}

// A place is a name in a directory of the original. The directory may be
// closed. The path is built only when it is needed, because the paths of a deep
// tree are long.
type place struct {
	dir  *rootfd.Dir
	name string
}

// Copy copies the content of src, and the attributes of src itself, into the
// existing empty directory dst.
func Copy(ctx context.Context, src, dst *rootfd.Dir, opts Options) error {
	if opts.Made == nil {
		opts.Made = func([]byte, uint64) {}
	}
	c := &copier{ctx: ctx, opts: opts, from: src, root: dst, links: map[[2]uint64]place{}}
	st, err := src.Stat()
	if err != nil {
		return err
	}
	return c.dir(src, dst, st)
}

// dir copies the content of src and then the attributes of src itself. The
// attributes are last, because making children changes them.
func (c *copier) dir(src, dst *rootfd.Dir, st rootfd.Stat) error {
	own, err := dst.Stat()
	if err != nil {
		return err
	}
	if len(c.path) == 0 {
		c.opts.Made([]byte{'.'}, own.Ino)
	} else {
		c.opts.Made(c.path, own.Ino)
	}
	names, err := src.Names()
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		if err := c.child(src, dst, name); err != nil {
			return err
		}
	}
	xattrs, err := src.Xattrs()
	if err != nil {
		return err
	}
	if c.opts.Stubs && st.Ino == 2 { // BTRFS_EMPTY_SUBVOL_DIR_OBJECTID
		st.Mtime = time.Unix(0, 0)
	}
	return dst.Use(func(fd int) error { return set(attrs.Open(fd), st, xattrs) })
}

func (c *copier) child(src, dst *rootfd.Dir, name string) error {
	st, err := src.Lookup(name)
	if err != nil {
		return err
	}
	if st.IsDir() {
		return c.subdir(src, dst, name, st)
	}
	if st.Nlink > 1 {
		key := [2]uint64{st.Dev, st.Ino}
		if first, ok := c.links[key]; ok {
			return c.link(first, dst, name)
		}
		c.links[key] = place{src, name}
	}
	return dst.Use(func(fd int) error {
		if st.IsRegular() {
			return c.regular(src, fd, name, st)
		}
		return c.special(src, fd, name, st)
	})
}

func (c *copier) subdir(src, dst *rootfd.Dir, name string, st rootfd.Stat) error {
	if err := dst.Use(func(fd int) error { return sys.Mkdirat(fd, name, 0o700) }); err != nil {
		return err
	}
	out, err := dst.OpenDir(name)
	if err != nil {
		return err
	}
	defer out.Close()
	sub, err := src.OpenDir(name)
	if err != nil {
		return err
	}
	defer sub.Close()
	defer func(n int) { c.path = c.path[:n] }(len(c.path))
	if len(c.path) > 0 {
		c.path = append(c.path, '/')
	}
	c.path = append(c.path, name...)
	return c.dir(sub, out, st)
}

func (c *copier) link(first place, dst *rootfd.Dir, name string) error {
	dir, err := c.root.OpenDirAt(first.dir.Below(c.from))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Use(func(from int) error {
		return dst.Use(func(to int) error { return sys.Linkat(from, first.name, to, name) })
	})
}

// special copies a file without content.
func (c *copier) special(src *rootfd.Dir, dst int, name string, st rootfd.Stat) error {
	xattrs, err := src.LookupXattrs(name)
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
	f := attrs.Named(dst, name, c.opts.NoFchmodat2)
	if st.IsSymlink() {
		f = attrs.Link(dst, name)
	}
	return set(f, st, xattrs)
}

func (c *copier) regular(src *rootfd.Dir, dst int, name string, st rootfd.Stat) (err error) {
	xattrs, err := src.LookupXattrs(name)
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
	return set(attrs.Open(out), st, xattrs)
}

// set sets the attributes of the copy of a file.
func set(f attrs.File, st rootfd.Stat, xattrs map[string]string) error {
	a := attrs.New(st.Mode, st.UID, st.GID, st.Mtime, xattrs, whiteout.Plain)
	return attrs.Set(f, &a, attrs.Unknown, attrs.Options{})
}

// isUnsupported reports whether the next slower way must be tried after an
// error.
func isUnsupported(err error) bool {
	for _, e := range []error{unix.EOPNOTSUPP, unix.ENOSYS, unix.EXDEV, unix.EINVAL, unix.ENOTTY, unix.EPERM} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
