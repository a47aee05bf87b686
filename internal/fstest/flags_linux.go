package fstest

import "golang.org/x/sys/unix"

// AddFlag adds a flag of chattr(1), such as unix.STATX_ATTR_IMMUTABLE, to an
// open file or directory.
func AddFlag(fd, flag int) error {
	flags, err := unix.IoctlGetUint32(fd, unix.FS_IOC_GETFLAGS)
	if err != nil {
		return err
	}
	return unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, int(flags)|flag)
}
