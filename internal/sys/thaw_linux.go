package sys

import (
	"errors"

	"golang.org/x/sys/unix"
)

// frozen are the flags of chattr(1) +i and +a, FS_IMMUTABLE_FL and FS_APPEND_FL
// in linux/fs.h, which forbid to change, rename and remove a file, or the names
// in a directory.
const frozen = unix.STATX_ATTR_IMMUTABLE | unix.STATX_ATTR_APPEND

// Thaw takes the flags of chattr(1) +i and +a from an open file or directory.
// They are no part of a layer. It is no error where there are no such flags, or
// none that this process may take away.
func Thaw(fd int) error {
	err := clearFlags(fd, frozen)
	if errors.Is(err, unix.EPERM) {
		return nil
	}
	return err
}

// Thawat is Thaw of a name in a directory. What is no regular file and no
// directory it leaves alone, and what is mounted there, which belongs to
// somebody else.
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
