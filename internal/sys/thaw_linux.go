package sys

import (
	"errors"

	"golang.org/x/sys/unix"
)

// frozen are the flags of chattr(1) +i and +a, FS_IMMUTABLE_FL and FS_APPEND_FL in
// linux/fs.h, which forbid to change, rename and remove a file, or the names in a
// directory.
const frozen = unix.STATX_ATTR_IMMUTABLE | unix.STATX_ATTR_APPEND

// Thaw takes the flags of chattr(1) +i and +a from an open file or directory. They
// are no part of a layer. It is no error where there are no such flags, or none
// that this process may take away.
func Thaw(fd int) error {
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
	if flags&frozen == 0 {
		return nil
	}
	err = retry(func() error { return unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, int(flags&^frozen)) })
	if errors.Is(err, unix.EPERM) {
		return nil
	}
	return pathErr("FS_IOC_SETFLAGS", fdName(fd), err)
}

// noFlags reports whether a file system has no such flags: each of them says so in its
// own way.
func noFlags(err error) bool {
	return Refused(err) || errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL)
}

// Thawat is Thaw of a name in a directory. What is no regular file and no directory it
// leaves alone, and what is mounted there, which belongs to somebody else.
func Thawat(dirfd int, name string) error {
	fd, _, err := OpenPlain(dirfd, name)
	if errors.Is(err, ErrNotPlain) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if _, mounted, err := Identify(fd); mounted || err != nil {
		return err
	}
	return Thaw(fd)
}
