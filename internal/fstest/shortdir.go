package fstest

import (
	"os"
	"testing"
)

// ShortDir is TempDir for sockets, whose paths have at most 107 bytes: its path
// does not hold the name of the test.
func ShortDir(tb testing.TB) string {
	tb.Helper()
	dir, err := os.MkdirTemp("", "lk-")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := RemoveAll(dir); err != nil {
			tb.Error(err)
		}
	})
	return dir
}
