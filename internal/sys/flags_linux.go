package sys

import (
	"errors"

	"golang.org/x/sys/unix"
)

// clearFlags clears flags of chattr(1) on an open file or directory. It does
// nothing if none of them is set or the file system has no such flags.
func clearFlags(fd int, which uint32) error {
	var flags uint32
	err := retry(func() (err error) {
		flags, err = unix.IoctlGetUint32(fd, unix.FS_IOC_GETFLAGS)
		return err
	})
	if err != nil {
		if noFlags(err) {
			return nil
		}
		return pathErr("FS_IOC_GETFLAGS", fdName(fd), err)
	}
	if flags&which == 0 {
		return nil
	}
	err = retry(func() error { return unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, int(flags&^which)) })
	return pathErr("FS_IOC_SETFLAGS", fdName(fd), err)
}

// noFlags reports whether an error means that the file system has no such
// flags. File systems return different errors for that.
func noFlags(err error) bool {
	return Refused(err) || errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL)
}
