package aufs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/attrs"
	"github.com/layerkeep/layerkeep/internal/rootfd"
	"github.com/layerkeep/layerkeep/internal/sys"
)

// file translates a file that is not a directory. It makes a hard link, which
// costs no space. It makes a copy if a link is not possible, or if overlay
// would take one of the file's attributes for its own. It returns errUnfit for
// a character device 0:0, and tooManyLinks if the file can have no more names.
func (e *encoder) file(src, dst *rootfd.Dir, name string, st rootfd.Stat) error {
	if e.enc.IsWhiteoutNode(st.Mode, st.Rdev) {
		return fmt.Errorf("%w: %s is a character device 0:0, a whiteout to overlay", errUnfit, e.shown(src, name))
	}
	xattrs, err := src.LookupXattrs(name)
	if err != nil {
		return err
	}
	escapes := e.escapes(xattrs, src, name)
	id := [2]uint64{st.Dev, st.Ino}
	if first, ok := e.first[id]; ok {
		return e.again(first, dst, name)
	}
	if !e.copied[id] && st.Nlink <= manyNames && !escapes {
		err := link(src, name, dst, name)
		switch {
		case errors.Is(err, unix.EMLINK):
			return tooManyLinks{id}
		case !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EXDEV) && !errors.Is(err, unix.EOPNOTSUPP):
			return err
		}
		// The file is immutable, or belongs to another quota project, or the file
		// system has no hard links.
	}
	if st.Nlink > 1 {
		e.first[id] = copiedTo{src, name}
	}
	return dst.Use(func(fd int) error {
		if st.IsRegular() {
			return e.regular(src, fd, name, st, xattrs)
		}
		return e.special(src, fd, name, st, xattrs)
	})
}

// link gives a file another name.
func link(from *rootfd.Dir, name string, to *rootfd.Dir, further string) error {
	return from.Use(func(fd int) error {
		return to.Use(func(toFd int) error { return sys.Linkat(fd, name, toFd, further) })
	})
}

// escapes reports whether overlay would take one of the attributes of a file
// for its own. It records the first such attribute. The empty name means the
// directory itself.
func (e *encoder) escapes(xattrs map[string]string, dir *rootfd.Dir, file string) bool {
	for name := range xattrs {
		if strings.HasPrefix(name, e.enc.XattrPrefix()) {
			if e.escaped == "" {
				e.escaped = fmt.Sprintf("%s has the attribute %s, which overlay hides before Linux 6.7", e.shown(dir, file), name)
			}
			return true
		}
	}
	return false
}

// again links another name to the copy of a file.
func (e *encoder) again(first copiedTo, dst *rootfd.Dir, name string) error {
	dir, err := e.out.OpenDirAt(first.dir.Below(e.src))
	if err != nil {
		return err
	}
	defer dir.Close()
	return link(dir, first.name, dst, name)
}

func (e *encoder) regular(src *rootfd.Dir, dst int, name string, st rootfd.Stat, xattrs map[string]string) error {
	in, err := src.Open(name)
	if err != nil {
		return err
	}
	defer in.Close()
	fd, err := sys.Openat(dst, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	out := os.NewFile(uintptr(fd), name)
	err = e.body(in, out, st.Size)
	if err == nil {
		err = e.set(attrs.Open(fd), st, xattrs)
	}
	return errors.Join(err, out.Close())
}

// body copies the data of a file and keeps holes.
func (e *encoder) body(in *rootfd.File, out *os.File, size int64) error {
	if err := out.Truncate(size); err != nil {
		return err
	}
	for at := int64(0); at < size; {
		data, err := unix.Seek(in.Fd(), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil // only a hole up to the end
		}
		end := size
		if err == nil {
			end, err = unix.Seek(in.Fd(), data, unix.SEEK_HOLE)
		} else if errors.Is(err, unix.EINVAL) {
			data, err = at, nil // the file system does not report holes
		}
		if err == nil {
			_, err = unix.Seek(in.Fd(), data, unix.SEEK_SET)
		}
		if err != nil {
			return &os.PathError{Op: "seek", Path: out.Name(), Err: err}
		}
		if _, err := io.Copy(io.NewOffsetWriter(out, data), &untilDone{e, io.LimitReader(in, end-data)}); err != nil {
			return err
		}
		at = end
	}
	return nil
}

// untilDone reads from r until the context ends, and then returns the context's
// error.
type untilDone struct {
	e *encoder
	r io.Reader
}

func (u *untilDone) Read(p []byte) (int, error) {
	if err := u.e.ctx.Err(); err != nil {
		return 0, err
	}
	return u.r.Read(p)
}

// special makes a file without content: a symbolic link, device, pipe or
// socket.
func (e *encoder) special(src *rootfd.Dir, dst int, name string, st rootfd.Stat, xattrs map[string]string) error {
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
	f := attrs.Named(dst, name, e.noFchmodat2)
	if st.IsSymlink() {
		f = attrs.Link(dst, name)
	}
	return e.set(f, st, xattrs)
}

// set gives a translated file the attributes of the original.
func (e *encoder) set(f attrs.File, st rootfd.Stat, xattrs map[string]string) error {
	a := attrs.New(st.Mode, st.UID, st.GID, st.Mtime, xattrs, e.enc)
	return attrs.Set(f, &a, attrs.Unknown, attrs.Options{})
}
