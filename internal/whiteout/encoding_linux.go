package whiteout

import (
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/sys"
)

// markMode is the mode of the marker files of aufs: WH_MASK in whout.c of the
// kernel module.
const markMode = 0o444

// Whiteout makes the whiteout that removes name in the directory dirfd. If the
// whiteout already exists, it returns an error that matches fs.ErrExist. Plain
// has no whiteouts, and returns an error. For AUFS the caller must also remove
// the file name itself.
func (e Encoding) Whiteout(dirfd int, name string) error {
	switch e {
	case Overlay, OverlayUser:
		return sys.Mknodat(dirfd, name, unix.S_IFCHR, 0)
	case AUFS:
		return makeMark(dirfd, Name(name))
	default:
		return fmt.Errorf("whiteout of %q: %s encoding has none", name, e)
	}
}

// makeMark makes an empty marker file of aufs. The umask changes the mode when
// the file is made, so makeMark sets the mode again.
func makeMark(dirfd int, name string) error {
	fd, err := sys.Openat(dirfd, name, unix.O_CREAT|unix.O_EXCL|unix.O_RDONLY, markMode)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return sys.Fchmod(fd, markMode)
}

// hasMark reports whether a marker file of aufs exists. If a file with the name
// of a marker is not a regular file, the kernel module fails with EIO, and so
// does hasMark.
func hasMark(dirfd int, name string) (bool, error) {
	st, err := sys.Fstatat(dirfd, name)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENAMETOOLONG):
		return false, nil
	case err != nil:
		return false, err
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return false, &fs.PathError{Op: "read mark", Path: name, Err: unix.EIO}
	}
	return true, nil
}

// ClearWhiteout removes a whiteout that Whiteout made.
func (e Encoding) ClearWhiteout(dirfd int, name string) error {
	if mark := e.MarkOf(name); mark != "" {
		name = mark
	}
	return sys.Unlinkat(dirfd, name)
}

// MarkOf returns the name of the file that is the whiteout of name, if the
// encoding gives it a name of its own, as AUFS does. It returns "" for other
// encodings, and for a name that is too long to have a whiteout.
func (e Encoding) MarkOf(name string) string {
	if e != AUFS || len(name)+len(Prefix) > unix.NAME_MAX {
		return ""
	}
	return Name(name)
}

// IsRemoved reports whether the directory dirfd has a whiteout for name under
// the name that MarkOf returns. A file called name in that directory is then
// hidden too.
func (e Encoding) IsRemoved(dirfd int, name string) (bool, error) {
	mark := e.MarkOf(name)
	if mark == "" {
		return false, nil
	}
	return hasMark(dirfd, mark)
}

// Keeps reports whether a file stays when its directory is emptied. That is a
// file that describes the directory itself or is bookkeeping. It is neither
// part of the tree nor a whiteout.
func (e Encoding) Keeps(name string) bool {
	if e != AUFS {
		return false
	}
	kind, _, err := Parse(name)
	return err == nil && (kind == Opaque || kind == Bookkeeping)
}

// SetOpaque marks the directory fd as opaque. fd is open for reading.
func (e Encoding) SetOpaque(fd int) error {
	if e == AUFS {
		return e.setOpaqueFile(fd)
	}
	name := e.Xattr("opaque")
	if name == "" {
		return fmt.Errorf("opaque mark: %s encoding has none", e)
	}
	return sys.Fsetxattr(fd, name, []byte("y"))
}

func (e Encoding) setOpaqueFile(fd int) error {
	if there, err := hasMark(fd, OpaqueMarker); there || err != nil {
		return err
	}
	return makeMark(fd, OpaqueMarker)
}

// ClearOpaque removes the mark of SetOpaque. It does nothing if there is no
// mark.
func (e Encoding) ClearOpaque(fd int) error {
	if e == AUFS {
		if err := sys.Unlinkat(fd, OpaqueMarker); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	name := e.Xattr("opaque")
	if name == "" {
		return nil
	}
	if err := sys.Fremovexattr(fd, name); err != nil && !errors.Is(err, unix.ENODATA) {
		return err
	}
	return nil
}

// Opacity reads the mark of the directory fd, which is open for reading. Only
// "y" means opaque, and only "x" means whiteouts in attributes. Any other value
// means Merged, and so does a file system without such attributes.
func (e Encoding) Opacity(fd int) (Opacity, error) {
	if e == AUFS {
		if there, err := hasMark(fd, OpaqueMarker); err != nil || !there {
			return Merged, err
		}
		return OpaqueDir, nil
	}
	name := e.Xattr("opaque")
	if name == "" {
		return Merged, nil
	}
	value, ok, err := sys.Fgetxattr(fd, name)
	if err != nil || !ok || len(value) != 1 {
		return Merged, err
	}
	switch value[0] {
	case 'y':
		return OpaqueDir, nil
	case 'x':
		return HasXattrWhiteouts, nil
	default:
		return Merged, nil
	}
}

// Redirect returns where the directory fd, open for reading, has its lower
// directories: an absolute path from the lower root, a single name in the same
// directory, or "" if there is no redirect.
func (e Encoding) Redirect(fd int) (string, error) {
	name := e.Xattr("redirect")
	if name == "" {
		return "", nil
	}
	value, _, err := sys.Fgetxattr(fd, name)
	return string(value), err
}

// IsWhiteout reports whether the file name in the directory dirfd is a whiteout
// of its own name, in either form. mode, rdev and size are from its stat. dir
// is the opacity of the directory itself.
func (e Encoding) IsWhiteout(dirfd int, name string, mode uint32, rdev uint64, size int64, dir Opacity) (bool, error) {
	if e.IsWhiteoutNode(mode, rdev) {
		return true, nil
	}
	if dir != HasXattrWhiteouts || mode&unix.S_IFMT != unix.S_IFREG || size != 0 {
		return false, nil
	}
	_, ok, err := sys.Lgetxattrat(dirfd, name, e.Xattr("whiteout"))
	return ok, err
}
