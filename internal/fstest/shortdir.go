package fstest

import (
	"os"
	"testing"
)

// maxShort is how long a directory for temporary files may be, in bytes, so that
// what is in one below it still has a path that a socket can have: 107 bytes.
const maxShort = 48

// ShortDir is TempDir for sockets: its path does not hold the name of the test,
// and is not in $TMPDIR where that is long, as a test may have made it.
func ShortDir(tb testing.TB) string {
	tb.Helper()
	in := os.TempDir()
	if len(in) > maxShort {
		in = "/tmp"
	}
	dir, err := os.MkdirTemp(in, "lk-")
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
