package durable

import (
	"errors"
	"io"
	"io/fs"
	"os"
)

// FS is the few file operations that this package needs.
type FS interface {
	// CreateTemp makes a new file in dir, mode 0600, with a name of its own
	// after the prefix, open for writing.
	CreateTemp(dir, prefix string) (File, error)
	// Rename renames a file, over what is there.
	Rename(from, to string) error
	// Remove removes a file.
	Remove(path string) error
	// SyncDir makes the names in dir durable, fsync(2) on the directory.
	SyncDir(dir string) error
}

// File is a file being written.
type File interface {
	io.WriteCloser
	Name() string
	Chmod(fs.FileMode) error
	Sync() error
}

// OS returns the operating system's files.
func OS() FS { return osFS{} }

type osFS struct{}

func (osFS) CreateTemp(dir, prefix string) (File, error) { return os.CreateTemp(dir, prefix+"*") }
func (osFS) Rename(from, to string) error                { return os.Rename(from, to) }
func (osFS) Remove(path string) error                    { return os.Remove(path) }

func (osFS) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
