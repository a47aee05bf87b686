package fstest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// Remount makes the file system of [Scratch] that dir is the directory of read-only, as
// ext4 does to itself after an error, or writable again.
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

// MountFrozen mounts the file system of [Scratch] that dir is the directory of anew,
// from a device that takes no writes: not even the journal of an ext4 is looked at. It
// is not for a tmpfs.
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

// Packed makes a file system of a directory, mounts it and returns where. The test is
// skipped where the program for it is missing, or the kernel lacks it.
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
