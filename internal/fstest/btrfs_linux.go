package fstest

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The requests of include/uapi/linux/btrfs.h that scratch file systems need.
const (
	iocSubvolCreate = 0x5000940e
	iocQuotaCtl     = 0xc0109428

	quotaEnable       = 1
	quotaEnableSimple = 4
)

// BindSubdirectory makes a directory in dir, which is on any file system, and
// mounts it by itself, so that the root of the mount is not that of the file
// system. It returns where.
func BindSubdirectory(tb testing.TB, dir string) string {
	tb.Helper()
	sub := filepath.Join(dir, "sub")
	if err := os.Mkdir(sub, 0o700); err != nil {
		tb.Fatal(err)
	}
	return bind(tb, sub)
}

// BindSubvolume makes a subvolume in dir, which is on a btrfs, and mounts it by
// itself. It returns where.
func BindSubvolume(tb testing.TB, dir string) string {
	tb.Helper()
	args := struct {
		fd   int64
		name [4088]byte
	}{}
	copy(args.name[:], "subvolume")
	ioctl(tb, dir, iocSubvolCreate, unsafe.Pointer(&args), "make a subvolume")
	sub := filepath.Join(dir, "subvolume")
	if err := os.Chmod(sub, 0o700); err != nil {
		tb.Fatal(err)
	}
	return bind(tb, sub)
}

// SimpleQuotas switches on simple quotas for the btrfs that dir is on, and
// returns dir. The test is skipped where the kernel has none.
func SimpleQuotas(tb testing.TB, dir string) string {
	tb.Helper()
	enableQuota(tb, dir, quotaEnableSimple)
	return dir
}

// Qgroups switches on quota groups for the btrfs that dir is on, and returns
// dir.
func Qgroups(tb testing.TB, dir string) string {
	tb.Helper()
	enableQuota(tb, dir, quotaEnable)
	return dir
}

func enableQuota(tb testing.TB, dir string, cmd uint64) {
	tb.Helper()
	args := struct{ cmd, status uint64 }{cmd: cmd}
	ioctl(tb, dir, iocQuotaCtl, unsafe.Pointer(&args), "switch on quotas")
}

func ioctl(tb testing.TB, dir string, request uintptr, arg unsafe.Pointer, what string) {
	tb.Helper()
	f, err := os.Open(dir)
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, uintptr(arg))
	if errors.Is(errno, unix.EINVAL) || errors.Is(errno, unix.EOPNOTSUPP) || errors.Is(errno, unix.ENOTTY) {
		tb.Skipf("the kernel cannot %s: %v", what, errno)
	}
	if errno != 0 {
		tb.Fatalf("%s: %v", what, errno)
	}
}

// bind mounts a directory by itself until the test ends.
func bind(tb testing.TB, dir string) string {
	tb.Helper()
	target := mountDir(tb)
	if err := unix.Mount(dir, target, "", unix.MS_BIND, ""); err != nil {
		tb.Fatalf("bind %s: %v", dir, err)
	}
	tb.Cleanup(func() { unmount(tb, target) })
	return target
}
