package tar

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/attrs"
	"github.com/layerkeep/layerkeep/internal/sys"
)

// fullBelow is the free space in bytes below which a file system counts as
// full.
const fullBelow = 1 << 20

// explainXattr explains an error of setting the attribute x of a file with the
// attributes a. ext4 and btrfs return ENOSPC for an attribute that is larger
// than they can store, even if the disk is empty.
func (m *maker) explainXattr(a *attributes, x *attrs.Xattr, err error) error {
	if !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.E2BIG) && !errors.Is(err, unix.ERANGE) {
		return err
	}
	var st unix.Statfs_t
	if serr := unix.Fstatfs(m.dirfd, &st); serr != nil || st.Bfree*uint64(st.Bsize) < fullBelow { //nolint:gosec // a block size
		return err
	}
	most, perr := m.largestXattr(x.Name)
	if perr != nil {
		return err // the caller's own error matters more
	}
	if len(x.Value) > most {
		return fmt.Errorf("%w: %s has %d bytes, and this file system takes %d on one file", ErrLargeXattr, x.Name, len(x.Value), most)
	}
	others, count := 0, len(a.Xattrs)-1
	for i := range a.Xattrs {
		if o := &a.Xattrs[i]; o.Name != x.Name {
			others += len(o.Name) + len(o.Value)
		}
	}
	if count == 0 {
		return err
	}
	return fmt.Errorf("%w: %s has %d bytes, beside %d others of the same file with %d; this file system takes %d where there are no others",
		ErrLargeXattr, x.Name, len(x.Value), count, others, most)
}

// largestXattr probes how many bytes an attribute with a name of this length
// can have on a file that has no other attributes.
func (m *maker) largestXattr(name string) (most int, err error) {
	m.probing.Lock()
	defer m.probing.Unlock()
	err = tryOn(m.dirfd, xattrProbeName, 0o600, func(fd int) (err error) {
		most, err = largestXattrOf(fd, name)
		return err
	})
	return most, err
}

func largestXattrOf(fd int, name string) (most int, err error) {
	space, _, _ := strings.Cut(name, ".")
	if space == "system" { // which accepts only attributes with a meaning
		space = "user"
	}
	name = space + "." + strings.Repeat("p", max(1, len(name)-len(space)-1))
	fits := func(size int) error {
		// The old value is removed first, because replacing it may need space for both.
		if err := sys.Fremovexattr(fd, name); err != nil && !errors.Is(err, unix.ENODATA) {
			return err
		}
		return sys.Fsetxattr(fd, name, make([]byte, size))
	}
	if err := fits(0); err != nil {
		return 0, err
	}
	low, high := 0, maxXattrValue+1 // the largest known to fit; the smallest known not to
	for high-low > 1 {
		if middle := (low + high) / 2; fits(middle) == nil {
			low = middle
		} else {
			high = middle
		}
	}
	return low, nil
}
