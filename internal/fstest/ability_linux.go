package fstest

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// CanMount reports whether this process can mount a tmpfs, by doing it.
func CanMount(tb testing.TB) bool {
	tb.Helper()
	dir := mountDir(tb)
	if err := unix.Mount("probe", dir, "tmpfs", 0, "size=64k"); err != nil {
		tb.Logf("no mounts are tested: mounting a tmpfs: %v", err)
		return false
	}
	if err := unix.Unmount(dir, 0); err != nil {
		tb.Fatal(err)
	}
	return true
}

// CanOwn reports whether this process can make files of other owners, device
// nodes and trusted attributes in dir, by doing it.
func CanOwn(tb testing.TB, dir string) bool {
	tb.Helper()
	p := filepath.Join(dir, "probe-owner")
	defer os.Remove(p)
	steps := []func() error{
		func() error { return unix.Mknod(p, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))) },
		func() error { return unix.Lchown(p, 4711, 4712) },
		func() error { return unix.Lsetxattr(p, "trusted.probe", []byte("1"), 0) },
	}
	for i, step := range steps {
		if err := step(); err != nil {
			what := []string{"a device node", "another owner", "a trusted attribute"}[i]
			tb.Logf("only what an unprivileged user can do is tested: %s: %v", what, err)
			return false
		}
	}
	return true
}

var tmpfsXattrs struct {
	sync.Once
	missing error
}

// TmpfsKeepsUserXattrs reports whether files on a tmpfs can have user
// attributes, by setting one: Linux 6.6 and later. Where no tmpfs can be
// mounted it says yes.
func TmpfsKeepsUserXattrs(tb testing.TB) bool {
	tb.Helper()
	tmpfsXattrs.Do(func() {
		dir := tb.TempDir()
		if unix.Mount("probe", dir, "tmpfs", 0, "size=64k") != nil {
			return
		}
		tmpfsXattrs.missing = unix.Lsetxattr(dir, "user.probe", []byte("1"), 0)
		if err := unix.Unmount(dir, 0); err != nil {
			tb.Fatal(err)
		}
	})
	if err := tmpfsXattrs.missing; err != nil {
		tb.Logf("a tmpfs keeps no user attributes before Linux 6.6: %v", err)
		return false
	}
	return true
}

// Umask sets the umask of the process until the test ends. Tests that use it
// cannot run in parallel with others.
func Umask(tb testing.TB, mask int) {
	tb.Helper()
	old := unix.Umask(mask)
	tb.Cleanup(func() { unix.Umask(old) })
}
