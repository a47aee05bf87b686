package sys

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// utimensat calls utimensat(2). For an empty name it passes a null pointer,
// which gives futimens(3). The wrapper in x/sys cannot do that.
func utimensat(fd int, name string, ts *[2]unix.Timespec, flags int) error {
	var p *byte
	if name != "" {
		var err error
		if p, err = unix.BytePtrFromString(name); err != nil {
			return err
		}
	}
	_, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(fd), uintptr(unsafe.Pointer(p)),
		uintptr(unsafe.Pointer(ts)), uintptr(flags), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
