package fstest

import (
	"os"
	"testing"

	"github.com/layerkeep/layerkeep/internal/testrun"
)

const (
	// maxShort is how long a directory for temporary files may be, in bytes, so
	// that what is in one below it still has a path that a socket can have: 107
	// bytes.
	maxShort = 48
	// shm is a tmpfs that every user of a Linux machine can write to.
	shm = "/dev/shm"
)

// ShortDir is TempDir for sockets: its path does not hold the name of the test,
// and is not in $TMPDIR where that is long, or where a test has made it so.
func ShortDir(tb testing.TB) string {
	tb.Helper()
	in := testrun.TempDir()
	if len(in) > maxShort {
		in = "/tmp"
	}
	return makeIn(tb, in)
}

// OpenDir is TempDir for what other users than root have to get at: they can go
// through all the directories above it.
func OpenDir(tb testing.TB) string {
	tb.Helper()
	in := "/tmp"
	if os.Getenv(testrun.RunEnv) != "" {
		in = testrun.TempDir() // everybody's, too
	}
	dir := makeIn(tb, in)
	if err := os.Chmod(dir, 0o711); err != nil {
		tb.Fatal(err)
	}
	return dir
}

// MemoryDir is TempDir in memory, where that can be had.
func MemoryDir(tb testing.TB) string {
	tb.Helper()
	in := shm
	if dir := os.Getenv(testrun.MemoryEnv); dir != "" {
		in = dir
	}
	dir, err := os.MkdirTemp(in, "lk-")
	if err != nil {
		return tb.TempDir()
	}
	removeLater(tb, dir)
	return dir
}

func makeIn(tb testing.TB, in string) string {
	tb.Helper()
	dir, err := os.MkdirTemp(in, "lk-")
	if err != nil {
		tb.Fatal(err)
	}
	removeLater(tb, dir)
	return dir
}

func removeLater(tb testing.TB, dir string) {
	tb.Helper()
	tb.Cleanup(func() {
		if err := RemoveAll(dir); err != nil {
			tb.Error(err)
		}
	})
}
