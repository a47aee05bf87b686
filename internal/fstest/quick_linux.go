package fstest

import (
	"testing"

	"golang.org/x/sys/unix"
)

// Quick returns the directory with the fastest files that can have user
// attributes: a scratch tmpfs or, where the kernel's tmpfs has none, the test's
// temporary directory. The test is skipped where that has none either.
func Quick(tb testing.TB) string {
	tb.Helper()
	if TmpfsKeepsUserXattrs(tb) {
		return Scratch(tb, Tmpfs)
	}
	dir := tb.TempDir()
	if err := unix.Lsetxattr(dir, "user.probe", []byte("1"), 0); err != nil {
		tb.Skipf("neither a tmpfs nor %s keeps user attributes: %v", dir, err)
	}
	if err := unix.Lremovexattr(dir, "user.probe"); err != nil {
		tb.Fatal(err)
	}
	return dir
}
