package drivertest

import (
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// freeBytes returns what is free on the file system of a directory, once all
// that was written is on it.
func freeBytes(tb testing.TB, dir string) int64 {
	tb.Helper()
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	require.NoError(tb, err)
	defer unix.Close(fd)
	require.NoError(tb, unix.Syncfs(fd))
	var st unix.Statfs_t
	require.NoError(tb, unix.Fstatfs(fd, &st))
	return int64(st.Bfree) * st.Bsize
}
