package sys

import (
	"bytes"
	"errors"
	"strconv"

	"golang.org/x/sys/unix"
)

// Fsetxattr sets an extended attribute of an open file.
func Fsetxattr(fd int, name string, value []byte) error {
	return pathErr("fsetxattr "+name, fdName(fd), retry(func() error { return unix.Fsetxattr(fd, name, value, 0) }))
}

// Fremovexattr removes an extended attribute of an open file.
func Fremovexattr(fd int, name string) error {
	return pathErr("fremovexattr "+name, fdName(fd), retry(func() error { return unix.Fremovexattr(fd, name) }))
}

// Fgetxattr reads one extended attribute of an open file. ok is false if the
// file does not have it or the file system does not support extended
// attributes.
func Fgetxattr(fd int, name string) (value []byte, ok bool, err error) {
	return getxattr("fgetxattr "+name, fdName(fd), func(buf []byte) (int, error) { return unix.Fgetxattr(fd, name, buf) })
}

// Lgetxattrat is Fgetxattr for name file in dirfd. It does not open the file.
func Lgetxattrat(dirfd int, file, name string) (value []byte, ok bool, err error) {
	path := procAt(dirfd, file)
	return getxattr("lgetxattr "+name, file, func(buf []byte) (int, error) { return unix.Lgetxattr(path, name, buf) })
}

// Lsetxattrat sets an extended attribute of the file in dirfd. It neither opens
// the file nor follows a symbolic link.
func Lsetxattrat(dirfd int, file, name string, value []byte) error {
	path := procAt(dirfd, file)
	return pathErr("lsetxattr "+name, file, retry(func() error { return unix.Lsetxattr(path, name, value, 0) }))
}

// Lremovexattrat removes an extended attribute of the file in dirfd. It neither
// opens the file nor follows a symbolic link.
func Lremovexattrat(dirfd int, file, name string) error {
	path := procAt(dirfd, file)
	return pathErr("lremovexattr "+name, file, retry(func() error { return unix.Lremovexattr(path, name) }))
}

// Flistxattr returns the names of the extended attributes of an open file. The
// result is nil if the file system does not support them.
func Flistxattr(fd int) ([]string, error) {
	buf := make([]byte, 1024)
	for {
		n, err := unix.Flistxattr(fd, buf)
		switch {
		case err == nil:
			return splitNames(buf[:n]), nil
		case errors.Is(err, unix.ENOTSUP):
			return nil, nil
		case errors.Is(err, unix.ERANGE) && len(buf) < 1<<16:
			buf = make([]byte, 1<<16) // XATTR_LIST_MAX
		case errors.Is(err, unix.EINTR):
		default:
			return nil, pathErr("flistxattr", fdName(fd), err)
		}
	}
}

func splitNames(buf []byte) []string {
	var names []string
	for _, b := range bytes.Split(buf, []byte{0}) {
		if len(b) > 0 {
			names = append(names, string(b))
		}
	}
	return names
}

func getxattr(op, path string, get func([]byte) (int, error)) ([]byte, bool, error) {
	buf := make([]byte, 256)
	for {
		n, err := get(buf)
		switch {
		case err == nil:
			return buf[:n], true, nil
		case errors.Is(err, unix.ENODATA), errors.Is(err, unix.ENOTSUP):
			return nil, false, nil
		case errors.Is(err, unix.ERANGE) && len(buf) < 1<<16:
			buf = make([]byte, 1<<16) // XATTR_SIZE_MAX
		case errors.Is(err, unix.EINTR):
		default:
			return nil, false, pathErr(op, path, err)
		}
	}
}

// procAt returns a path of a file below an open directory, for the l*xattr
// calls, which take only paths. They do not follow the last component, and the
// others lead to a descriptor of this process.
func procAt(dirfd int, file string) string {
	return "/proc/self/fd/" + strconv.Itoa(dirfd) + "/" + file
}
