package fstest

import (
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
