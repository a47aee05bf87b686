package durable_test

import (
	"testing"

	"golang.org/x/sys/unix"
)

func canBeUnnamed(t *testing.T, dir string) bool {
	t.Helper()
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err == nil {
		err = unix.Close(fd)
	}
	return err == nil
}
