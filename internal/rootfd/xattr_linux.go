package rootfd

import (
	"errors"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/sys"
)

// xattrArgs is struct xattr_args of linux/xattr.h.
type xattrArgs struct {
	value uint64
	size  uint32
	flags uint32
}

// haveXattrat reports whether listxattrat(2) and getxattrat(2) work here. They
// exist since Linux 6.13, and a system call filter may refuse one of them.
var haveXattrat = sync.OnceValue(func() bool {
	_, err := listxattrat(unix.AT_FDCWD, "/", 0, nil)
	if sys.Refused(err) {
		return false
	}
	_, err = getxattrat(unix.AT_FDCWD, "/", "user.layerkeep.probe", make([]byte, 1))
	return !sys.Refused(err)
})

// Xattrs returns all extended attributes of the directory itself. The result is
// nil if it has none or the file system does not support them.
func (d *Dir) Xattrs() (map[string]string, error) { return d.xattrs("") }

// LookupXattrs returns all extended attributes of a child of any type.
func (d *Dir) LookupXattrs(name string) (map[string]string, error) {
	if err := checkName(name); err != nil {
		return nil, d.wrap("listxattr", name, err)
	}
	return d.xattrs(name)
}

// XattrNames returns the names of all extended attributes of a child of any
// type, or, for an empty name, of the directory itself.
func (d *Dir) XattrNames(name string) ([]string, error) {
	if name != "" {
		if err := checkName(name); err != nil {
			return nil, d.wrap("listxattr", name, err)
		}
	}
	return d.xattrNames(name)
}

// Xattr returns one extended attribute of the directory itself. ok is false if
// the directory does not have it.
func (d *Dir) Xattr(attr string) (value string, ok bool, err error) { return d.xattr("", attr) }

// LookupXattr returns one extended attribute of a child of any type.
func (d *Dir) LookupXattr(name, attr string) (value string, ok bool, err error) {
	if err := checkName(name); err != nil {
		return "", false, d.wrap("getxattr", name, err)
	}
	return d.xattr(name, attr)
}

func (d *Dir) xattrs(name string) (map[string]string, error) {
	names, err := d.xattrNames(name)
	if err != nil || len(names) == 0 {
		return nil, err
	}
	attrs := make(map[string]string, len(names))
	for _, attr := range names {
		value, ok, err := d.xattr(name, attr)
		if err != nil {
			return nil, err
		}
		if ok { // otherwise it was removed meanwhile
			attrs[attr] = value
		}
	}
	return attrs, nil
}

func (d *Dir) xattrNames(name string) ([]string, error) {
	pooled := buffers.Get().(*[]byte)
	defer buffers.Put(pooled)
	list, err := d.listxattr(name, *pooled)
	if errors.Is(err, unix.ENOTSUP) {
		return nil, nil
	}
	if err != nil {
		return nil, d.wrap("listxattr", name, err)
	}
	if len(list) == 0 {
		return nil, nil
	}
	return strings.Split(strings.TrimSuffix(string(list), "\x00"), "\x00"), nil
}

// xattr reads one attribute of a child. For an empty name it reads an attribute
// of d itself.
func (d *Dir) xattr(name, attr string) (string, bool, error) {
	pooled := buffers.Get().(*[]byte)
	defer buffers.Put(pooled)
	n, err := d.getxattr(name, attr, *pooled)
	switch {
	case err == nil:
		return string((*pooled)[:n]), true, nil
	case errors.Is(err, unix.ENODATA), errors.Is(err, unix.ENOTSUP):
		return "", false, nil
	default:
		return "", false, d.wrap("getxattr "+attr, name, err)
	}
}

func (d *Dir) listxattr(name string, buf []byte) ([]byte, error) {
	var n int
	err := d.with(func(fd int) (err error) {
		switch {
		case name == "":
			n, err = unix.Flistxattr(fd, buf)
		case !d.tree.noXattrat:
			n, err = listxattrat(fd, name, unix.AT_SYMLINK_NOFOLLOW, buf)
		default:
			n, err = unix.Llistxattr(procPath(fd, name), buf)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return buf[:n], nil
}

func (d *Dir) getxattr(name, attr string, buf []byte) (n int, err error) {
	err = d.with(func(fd int) (err error) {
		switch {
		case name == "":
			n, err = unix.Fgetxattr(fd, attr, buf)
		case !d.tree.noXattrat:
			n, err = getxattrat(fd, name, attr, buf)
		default:
			n, err = unix.Lgetxattr(procPath(fd, name), attr, buf)
		}
		return err
	})
	return n, err
}

// procPath returns a path of a child through the descriptor. It must be used
// with the l* calls, which do not follow the last component.
func procPath(fd int, name string) string {
	return "/proc/self/fd/" + strconv.Itoa(fd) + "/" + name
}

func listxattrat(fd int, name string, flags int, buf []byte) (int, error) {
	path, err := unix.BytePtrFromString(name)
	if err != nil {
		return 0, err
	}
	var p unsafe.Pointer
	if len(buf) > 0 {
		p = unsafe.Pointer(&buf[0])
	}
	n, _, errno := unix.Syscall6(unix.SYS_LISTXATTRAT, uintptr(fd), uintptr(unsafe.Pointer(path)),
		uintptr(flags), uintptr(p), uintptr(len(buf)), 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// getxattrat needs a buf on the heap. The address of buf is passed as an
// integer, and the runtime would not update it if the stack moved.
func getxattrat(fd int, name, attr string, buf []byte) (int, error) {
	path, err := unix.BytePtrFromString(name)
	if err != nil {
		return 0, err
	}
	key, err := unix.BytePtrFromString(attr)
	if err != nil {
		return 0, err
	}
	args := &xattrArgs{value: uint64(uintptr(unsafe.Pointer(&buf[0]))), size: uint32(len(buf))}
	n, _, errno := unix.Syscall6(unix.SYS_GETXATTRAT, uintptr(fd), uintptr(unsafe.Pointer(path)),
		unix.AT_SYMLINK_NOFOLLOW, uintptr(unsafe.Pointer(key)), uintptr(unsafe.Pointer(args)), unsafe.Sizeof(*args))
	runtime.KeepAlive(buf)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
