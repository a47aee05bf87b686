package sys

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// casefold is FS_CASEFOLD_FL in linux/fs.h: names in the directory that differ
// only by case are the same.
const casefold = 0x40000000

// Disinherit removes from an open directory what it has inherited from the
// directory above, and what it would pass on to new files inside it: access
// control lists and the group (setgid bit). Its mode is perm afterwards. It is
// for new directories of a store. It writes nothing if there is nothing to
// remove. It returns an error if names in the directory stay case-insensitive,
// because such a directory cannot store a layer.
//
// It keeps properties that do not change files as programs see them: the label
// of a security module, the project of a quota, compression, encryption.
func Disinherit(fd int, perm uint32) error {
	for _, list := range []string{"system.posix_acl_default", "system.posix_acl_access"} {
		// On some file systems, removing an attribute that does not exist is a write.
		err := retry(func() error { _, err := unix.Fgetxattr(fd, list, nil); return err })
		if err == nil {
			err = retry(func() error { return unix.Fremovexattr(fd, list) })
		}
		if err != nil && !errors.Is(err, unix.ENODATA) && !errors.Is(err, unix.EOPNOTSUPP) {
			return pathErr("fremovexattr "+list, fdName(fd), err)
		}
	}
	var st unix.Stat_t
	if err := retry(func() error { return unix.Fstat(fd, &st) }); err != nil {
		return pathErr("fstat", fdName(fd), err)
	}
	if st.Mode&0o7777 != perm {
		if err := retry(func() error { return unix.Fchmod(fd, perm) }); err != nil {
			return pathErr("fchmod", fdName(fd), err)
		}
	}
	if err := clearFlags(fd, casefold); err != nil {
		return fmt.Errorf("keep names in it apart whatever their case (chattr -F): %w", err)
	}
	return nil
}
