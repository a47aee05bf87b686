package mount

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/sys"
)

// detachedBind clones what is mounted at m.Source and mounts it nowhere.
// Returns a refusal where mount(2) may do it all the same.
func (mr Mounter) detachedBind(m Mount) (*os.File, error) {
	if err := mr.played("open_tree"); err != nil {
		return nil, refusedCall(explain("open_tree", m.Source, err))
	}
	f, err := cloneTree(m.Source)
	if err != nil {
		return nil, refusedCall(err)
	}
	if err := mr.setBind(m, f); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// setBind gives the clone of a mount the attributes it should have.
func (mr Mounter) setBind(m Mount, f *os.File) error {
	// Not private, it would be a peer of the source's mount: what is mounted in
	// it later would be mounted in the source as well, and taken for a part of it.
	attr := unix.MountAttr{Propagation: unix.MS_PRIVATE}
	if m.ReadOnly {
		attr.Attr_set = unix.MOUNT_ATTR_RDONLY
	}
	if m.IDMap != nil {
		ns, err := userNS(*m.IDMap)
		if err != nil {
			return err
		}
		defer ns.Close()
		attr.Attr_set |= unix.MOUNT_ATTR_IDMAP
		attr.Userns_fd = uint64(ns.Fd())
	}
	err := mr.played("mount_setattr")
	if err == nil {
		err = unix.MountSetattr(int(f.Fd()), "", unix.AT_EMPTY_PATH, &attr)
	}
	if errors.Is(err, unix.EINVAL) && m.IDMap != nil { // a file system that knows no maps
		return fmt.Errorf("%w: %w", ErrUnsupported, explain("mount_setattr of an ID map", m.Source, err))
	}
	// Linux 5.2 to 5.11 have open_tree(2) without mount_setattr(2).
	return refusedCall(explain("mount_setattr", m.Source, err))
}

// refusedCall makes the error of a system call a refusal if it can mean that
// the kernel lacks the call (ENOSYS), or that a filter forbids it: EPERM from
// seccomp, EACCES from AppArmor.
func refusedCall(err error) error {
	if sys.Refused(err) || errors.Is(err, unix.EOPNOTSUPP) {
		return refused(err)
	}
	return err
}
