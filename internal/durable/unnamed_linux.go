package durable

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// createUnnamed makes a file without a name in dir. It reports false where
// that, or giving it one later, cannot be done: on some file systems, and
// without /proc.
func createUnnamed(dir, prefix string) (File, bool) {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, false
	}
	name := filepath.Join(dir, fmt.Sprintf("%s%d", prefix, rand.Uint64())) //nolint:gosec // no secret
	f := unnamed{os.NewFile(uintptr(fd), name)}
	var st unix.Stat_t
	if unix.Lstat(f.link(), &st) != nil {
		f.Close()
		return nil, false
	}
	return f, true
}

type unnamed struct{ *os.File }

func (f unnamed) link() string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }

func (f unnamed) Keep() error {
	err := unix.Linkat(unix.AT_FDCWD, f.link(), unix.AT_FDCWD, f.Name(), unix.AT_SYMLINK_FOLLOW)
	if err != nil {
		return &os.LinkError{Op: "link", Old: "an unnamed file", New: f.Name(), Err: err}
	}
	// The content is on disk. That it has a name is the file's as well, and is what
	// a file that never was without one has at this point.
	return f.Sync()
}
