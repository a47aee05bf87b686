package fstest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// Remount makes the file system of [Scratch] that dir is the directory of
// read-only, as ext4 does to itself after an error, or writable again.
func Remount(tb testing.TB, dir string, readOnly bool) {
	tb.Helper()
	flags := uintptr(unix.MS_REMOUNT)
	if readOnly {
		flags |= unix.MS_RDONLY
	}
	if err := unix.Mount("", filepath.Dir(dir), "", flags, ""); err != nil {
		tb.Fatalf("remount %s: %v", filepath.Dir(dir), err)
	}
}

// FailExt4 makes an ext4 of [Scratch] that dir is the directory of do what it
// does by itself after an error: nothing can be written to it any more. By the
// flags of its mount it is writable all the same on newer kernels (6.18). The
// test is skipped where the kernel cannot be told to.
func FailExt4(tb testing.TB, dir string) {
	tb.Helper()
	if err := unix.Mount("", filepath.Dir(dir), "", unix.MS_REMOUNT, "errors=remount-ro"); err != nil {
		tb.Fatalf("remount %s: %v", filepath.Dir(dir), err)
	}
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		tb.Fatal(err)
	}
	device, err := os.Readlink(fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev)))
	if err != nil {
		tb.Fatal(err)
	}
	trigger := filepath.Join("/sys/fs/ext4", filepath.Base(device), "trigger_fs_error")
	if err := os.WriteFile(trigger, []byte("1"), 0o200); err != nil {
		tb.Skipf("an ext4 cannot be made to fail here: %v", err)
	}
}

// MountFrozen mounts the file system of [Scratch] that dir is the directory of
// anew, from a device that takes no writes: not even the journal of an ext4 is
// looked at. It is not for a tmpfs.
func MountFrozen(tb testing.TB, dir string, fs FS) {
	tb.Helper()
	target := filepath.Dir(dir)
	image := filepath.Join(filepath.Dir(target), "image")
	unmount(tb, target)
	awaitDetached(tb, image)
	options := "loop,ro"
	if fs == Ext4 {
		options += ",noload"
	}
	mountLoop(tb, fs, image, target, options)
}

// File systems that are made whole and never written to, for [Packed].
const (
	Squashfs FS = "squashfs"
	Erofs    FS = "erofs"
)

// Packed makes a file system of a directory, mounts it and returns where. The
// test is skipped where the program for it is missing, or the kernel lacks it.
func Packed(tb testing.TB, fs FS, from string) string {
	tb.Helper()
	dir := mountDir(tb)
	image, target := filepath.Join(dir, "image"), filepath.Join(dir, "mnt")
	args := map[FS][]string{
		Squashfs: {"mksquashfs", from, image, "-quiet", "-no-progress"},
		Erofs:    {"mkfs.erofs", image, from},
	}[fs]
	if _, err := exec.LookPath(args[0]); err != nil {
		tb.Skipf("%s is not installed", args[0])
	}
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		tb.Fatalf("%s: %v: %s", args[0], err, out)
	}
	if err := os.Mkdir(target, 0o700); err != nil {
		tb.Fatal(err)
	}
	mountLoop(tb, fs, image, target, "loop,ro")
	tb.Cleanup(func() {
		unmount(tb, target)
		awaitDetached(tb, image)
	})
	return target
}
