package durable

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// FS is the few file operations that this package needs.
type FS interface {
	// CreateTemp makes a new file in dir, mode 0600, open for writing. Its name,
	// which begins with the prefix, need not be there before its Keep.
	CreateTemp(dir, prefix string) (File, error)
	// Rename renames a file, over what is there.
	Rename(from, to string) error
	// Remove removes a file. One that is not there is no error.
	Remove(path string) error
	// SyncDir makes the names in dir durable, fsync(2) on the directory.
	SyncDir(dir string) error
}

// File is a file being written.
type File interface {
	io.WriteCloser
	Name() string
	Chmod(fs.FileMode) error
	// Keep makes the name appear, durably as Sync does; without it the file may be
	// gone once it is closed.
	Keep() error
	Sync() error
}

// NoRoom reports whether an error is that of a full disk, or of a quota.
func NoRoom(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

// OS returns the operating system's files.
func OS() FS { return osFS{} }

type osFS struct{}

// CreateTemp makes a file that has no name where that can be done, so that a
// killed process leaves nothing.
func (osFS) CreateTemp(dir, prefix string) (File, error) {
	if f, ok := createUnnamed(dir, prefix); ok {
		return f, nil
	}
	f, err := os.CreateTemp(dir, prefix+"*")
	if err != nil {
		return nil, err
	}
	return named{f}, nil
}

// named is a file that has its name from the beginning.
type named struct{ *os.File }

func (named) Keep() error { return nil }

func (osFS) Rename(from, to string) error { return os.Rename(from, to) }

func (osFS) Remove(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (osFS) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
