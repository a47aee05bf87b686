package whiteout

import (
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/sys"
)

// markMode is what aufs gives its marks: WH_MASK in the kernel module's
// whout.c.
const markMode = 0o444

// Whiteout makes the mark that removes name in the directory dirfd. A mark that
// is there already is an error matching fs.ErrExist. Plain has no marks and
// returns an error. For AUFS the name itself must be removed too.
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

// makeMark makes an empty file of aufs. The umask has a say when it is made, so
// the mode is set once more.
func makeMark(dirfd int, name string) error {
	fd, err := sys.Openat(dirfd, name, unix.O_CREAT|unix.O_EXCL|unix.O_RDONLY, markMode)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return sys.Fchmod(fd, markMode)
}

// hasMark reports whether a file of aufs is there. The module refuses with EIO
// what has the name of a mark and is no regular file.
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

// ClearWhiteout takes the mark of Whiteout away.
func (e Encoding) ClearWhiteout(dirfd int, name string) error {
	if mark := e.MarkOf(name); mark != "" {
		name = mark
	}
	return sys.Unlinkat(dirfd, name)
}

// MarkOf returns the name of a whiteout that hides another file than one of its
// own name: for AUFS the one that removes name. It is empty for encodings whose
// whiteouts have the name of what they remove, and for a name that is too long
// to be removed.
func (e Encoding) MarkOf(name string) string {
	if e != AUFS || len(name)+len(Prefix) > unix.NAME_MAX {
		return ""
	}
	return Name(name)
}

// IsRemoved reports whether the directory dirfd has a whiteout beside name, as
// MarkOf says. What is called name there is hidden too then.
func (e Encoding) IsRemoved(dirfd int, name string) (bool, error) {
	mark := e.MarkOf(name)
	if mark == "" {
		return false, nil
	}
	return hasMark(dirfd, mark)
}

// Keeps reports whether a file of a directory is neither part of the tree nor a
// whiteout, but says something of the directory, or is bookkeeping: it stays
// when the directory is emptied.
func (e Encoding) Keeps(name string) bool {
	if e != AUFS {
		return false
	}
	kind, _, err := Parse(name)
	return err == nil && (kind == Opaque || kind == Bookkeeping)
}

// SetOpaque marks the directory fd, opened for reading, as opaque.
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

// ClearOpaque takes the mark of SetOpaque away; without one it does nothing.
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

// Opacity reads the mark of the directory fd, opened for reading. Only "y"
// means opaque and only "x" means whiteouts in attributes; anything else, and a
// file system without such attributes, is Merged.
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

// Redirect reads where the directory fd, opened for reading, takes its lower
// directories from: an absolute path from the lower root, a single name beside
// it, or empty for none.
func (e Encoding) Redirect(fd int) (string, error) {
	name := e.Xattr("redirect")
	if name == "" {
		return "", nil
	}
	value, _, err := sys.Fgetxattr(fd, name)
	return string(value), err
}

// IsWhiteout reports whether name in the directory dirfd, with the given stat,
// is a whiteout of its own name in either form. dir is the directory's own
// opacity.
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
