package whiteout

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/sys"
)

// Whiteout makes the mark that removes name in the directory dirfd. A mark that
// is there already is an error matching fs.ErrExist. Plain has no marks and
// returns an error.
func (e Encoding) Whiteout(dirfd int, name string) error {
	if e != Overlay && e != OverlayUser {
		return fmt.Errorf("whiteout of %q: %s encoding has none", name, e)
	}
	return sys.Mknodat(dirfd, name, unix.S_IFCHR, 0)
}

// SetOpaque marks the directory fd, opened for reading, as opaque.
func (e Encoding) SetOpaque(fd int) error {
	name := e.Xattr("opaque")
	if name == "" {
		return fmt.Errorf("opaque mark: %s encoding has none", e)
	}
	return sys.Fsetxattr(fd, name, []byte("y"))
}

// ClearOpaque takes the mark of SetOpaque away; without one it does nothing.
func (e Encoding) ClearOpaque(fd int) error {
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
// is a whiteout in either form. dir is the directory's own opacity.
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
