package sys

import (
	"errors"

	"golang.org/x/sys/unix"
)

// frozen has the flags of chattr(1) +i and +a, FS_IMMUTABLE_FL and FS_APPEND_FL
// in linux/fs.h. They forbid changing, renaming and removing a file, or the
// names in a directory.
const frozen = unix.STATX_ATTR_IMMUTABLE | unix.STATX_ATTR_APPEND

// Thaw clears the flags of chattr(1) +i and +a of an open file or directory.
// These flags are not part of a layer. It is not an error if the file system
// has no such flags or this process may not clear them.
func Thaw(fd int) error {
	err := clearFlags(fd, frozen)
	if errors.Is(err, unix.EPERM) {
		return nil
	}
	return err
}

// Thawat is Thaw for a name in a directory. It ignores files that are neither
// regular files nor directories, and files with a mount on them, because these
// belong to another file system.
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
