package sys

import (
	"errors"

	"golang.org/x/sys/unix"
)

// An Identity tells a file from all others that there are.
type Identity struct{ Dev, Ino uint64 }

// Identify returns the device and inode number of an open file. mounted reports
// whether the file is the root of a mount. It is false if a filter of system
// calls forbids statx(2), which alone tells.
func Identify(fd int) (id Identity, mounted bool, err error) {
	var x unix.Statx_t
	err = retry(func() error { return unix.Statx(fd, "", unix.AT_EMPTY_PATH|unix.AT_NO_AUTOMOUNT, unix.STATX_INO, &x) })
	if Refused(err) { // by a filter of system calls that does not know it
		st, err := Fstat(fd)
		return Identity{uint64(st.Dev), st.Ino}, false, err //nolint:unconvert // 32 bits on some architectures
	}
	mounted = x.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
	return Identity{unix.Mkdev(x.Dev_major, x.Dev_minor), x.Ino}, mounted, pathErr("statx", fdName(fd), err)
}

var errMoved = errors.New("a directory was moved meanwhile")

// OpenAbove opens the directory above an open one for reading. It is an error
// when that is another one than id says. It returns -1 with an error.
func OpenAbove(below int, id Identity) (int, error) {
	fd, err := OpenDirat(below, "..")
	if err != nil {
		return -1, err
	}
	got, _, err := Identify(fd)
	if err == nil && got != id {
		err = errMoved
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}
