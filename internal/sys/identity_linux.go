package sys

import (
	"errors"

	"golang.org/x/sys/unix"
)

// An Identity identifies a file among all files of the machine.
type Identity struct{ Dev, Ino uint64 }

// Identify returns the device and inode number of an open file. mounted reports
// whether the file is the root of a mount. It is false if a system call filter
// forbids statx(2), because no other call says it.
func Identify(fd int) (id Identity, mounted bool, err error) {
	var x unix.Statx_t
	err = retry(func() error { return unix.Statx(fd, "", unix.AT_EMPTY_PATH|unix.AT_NO_AUTOMOUNT, unix.STATX_INO, &x) })
	if Refused(err) { // by a system call filter that does not know statx(2)
		st, err := Fstat(fd)
		return Identity{uint64(st.Dev), st.Ino}, false, err //nolint:unconvert // 32 bits on some architectures
	}
	mounted = x.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
	return Identity{unix.Mkdev(x.Dev_major, x.Dev_minor), x.Ino}, mounted, pathErr("statx", fdName(fd), err)
}

var errMoved = errors.New("a directory was moved meanwhile")

// OpenAbove opens the directory above an open one for reading. It returns an
// error if that directory is not the one that id identifies. After an error the
// result is -1.
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
