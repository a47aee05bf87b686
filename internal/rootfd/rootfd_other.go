//go:build !linux

package rootfd

import (
	"errors"
	"os"
)

// A Dir is a directory that is open for reading. It works only on Linux.
type Dir struct{}

// Open returns [errors.ErrUnsupported].
func Open(string, Options) (*Dir, error) { return nil, errors.ErrUnsupported }

// FromFile returns [errors.ErrUnsupported].
func FromFile(*os.File, Options) (*Dir, error) { return nil, errors.ErrUnsupported }

// Fd returns -1.
func (d *Dir) Fd() int { return -1 }

// Use returns [errors.ErrUnsupported].
func (d *Dir) Use(func(fd int) error) error { return errors.ErrUnsupported }

// Path returns "".
func (d *Dir) Path() string { return "" }

// Below returns "".
func (d *Dir) Below(*Dir) string { return "" }

// Close does nothing.
func (d *Dir) Close() error { return nil }

// Stat returns [errors.ErrUnsupported].
func (d *Dir) Stat() (Stat, error) { return Stat{}, errors.ErrUnsupported }

// Lookup returns [errors.ErrUnsupported].
func (d *Dir) Lookup(string) (Stat, error) { return Stat{}, errors.ErrUnsupported }

// LookupAt returns [errors.ErrUnsupported].
func (d *Dir) LookupAt(string) (Stat, error) { return Stat{}, errors.ErrUnsupported }

// Names returns [errors.ErrUnsupported].
func (d *Dir) Names() ([]string, error) { return nil, errors.ErrUnsupported }

// Entries returns [errors.ErrUnsupported].
func (d *Dir) Entries() ([]Entry, error) { return nil, errors.ErrUnsupported }

// Xattrs returns [errors.ErrUnsupported].
func (d *Dir) Xattrs() (map[string]string, error) { return nil, errors.ErrUnsupported }

// LookupXattrs returns [errors.ErrUnsupported].
func (d *Dir) LookupXattrs(string) (map[string]string, error) { return nil, errors.ErrUnsupported }

// XattrNames returns [errors.ErrUnsupported].
func (d *Dir) XattrNames(string) ([]string, error) { return nil, errors.ErrUnsupported }

// Xattr returns [errors.ErrUnsupported].
func (d *Dir) Xattr(string) (string, bool, error) { return "", false, errors.ErrUnsupported }

// LookupXattr returns [errors.ErrUnsupported].
func (d *Dir) LookupXattr(string, string) (string, bool, error) {
	return "", false, errors.ErrUnsupported
}

// Readlink returns [errors.ErrUnsupported].
func (d *Dir) Readlink(string) (string, error) { return "", errors.ErrUnsupported }

// Open returns [errors.ErrUnsupported].
func (d *Dir) Open(string) (*File, error) { return nil, errors.ErrUnsupported }

// OpenDir returns [errors.ErrUnsupported].
func (d *Dir) OpenDir(string) (*Dir, error) { return nil, errors.ErrUnsupported }

// OpenDirAt returns [errors.ErrUnsupported].
func (d *Dir) OpenDirAt(string) (*Dir, error) { return nil, errors.ErrUnsupported }

// A File is a regular file that is open for reading. It works only on Linux.
type File struct{}

// Fd returns -1.
func (f *File) Fd() int { return -1 }

// Stat returns [errors.ErrUnsupported].
func (f *File) Stat() (Stat, error) { return Stat{}, errors.ErrUnsupported }

// Read returns [errors.ErrUnsupported].
func (f *File) Read([]byte) (int, error) { return 0, errors.ErrUnsupported }

// Close does nothing.
func (f *File) Close() error { return nil }
