package testrun

import (
	"errors"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	iocSubvolFlags = 0x4008941a // BTRFS_IOC_SUBVOL_SETFLAGS
	subvolIno      = 256        // BTRFS_FIRST_FREE_OBJECTID
)

// makeWritable takes the read-only flag from a directory that is the root of a
// subvolume, and leaves any other alone.
func makeWritable(dir string) error {
	var st unix.Stat_t
	var fs unix.Statfs_t
	if err := errors.Join(unix.Lstat(dir, &st), unix.Statfs(dir, &fs)); err != nil {
		return err
	}
	if st.Ino != subvolIno || fs.Type != unix.BTRFS_SUPER_MAGIC {
		return nil
	}
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	var flags uint64
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), iocSubvolFlags, uintptr(unsafe.Pointer(&flags))); errno != 0 {
		return &os.PathError{Op: "make writable", Path: dir, Err: errno}
	}
	return nil
}
