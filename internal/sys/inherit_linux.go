package sys

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// casefold is FS_CASEFOLD_FL in linux/fs.h: names that differ by case alone are
// one.
const casefold = 0x40000000

// Disinherit takes from an open directory what the one above has passed on to
// it and what it would pass on to all that is made in it: access control lists,
// and the group. Its mode is perm then. It is for new directories of a store,
// and costs no write where there is nothing to take. One that must stay as it
// is, since names in it are the same whatever their case, is an error: a layer
// could not be kept in it.
//
// Left alone is what does not change files as programs see them: the label of a
// security module, the project of a quota, compression, encryption.
func Disinherit(fd int, perm uint32) error {
	for _, list := range []string{"system.posix_acl_default", "system.posix_acl_access"} {
		// To remove one that is not there is a change to some file systems.
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
