package rootfd

import (
	"errors"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/sys"
)

var errNotRegular = errors.New("not a regular file")

// A File is a regular file that is open for reading. It has the part of an
// [os.File] that a walk over many files needs, and is not registered with the
// poller. The caller must close it.
type File struct {
	fd  int
	dir *Dir // for error messages only
	nam string
}

// Open opens a regular file for reading. For any other file it returns an
// error, and never opens the file for reading, even if a program replaces the
// file meanwhile. Opening a device can have effects, and opening a fifo can
// block.
func (d *Dir) Open(name string) (*File, error) {
	if err := checkName(name); err != nil {
		return nil, d.wrap("open", name, err)
	}
	var fd int
	var st unix.Stat_t
	err := d.with(func(at int) (err error) {
		fd, st, err = sys.OpenPlain(at, name)
		return err
	})
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
		_ = unix.Close(fd)
		err = sys.ErrNotPlain
	}
	if errors.Is(err, sys.ErrNotPlain) {
		err = errNotRegular
	}
	if err != nil {
		var p *fs.PathError
		if errors.As(err, &p) {
			err = p.Err
		}
		return nil, d.wrap("open", name, err)
	}
	return &File{fd: fd, dir: d, nam: name}, nil
}

// Fd returns the descriptor. The File still owns it.
func (f *File) Fd() int { return f.fd }

// Stat returns the attributes of the open file.
func (f *File) Stat() (Stat, error) {
	var st unix.Stat_t
	if err := retry(func() error { return unix.Fstat(f.fd, &st) }); err != nil {
		return Stat{}, f.dir.wrap("stat", f.nam, err)
	}
	return fromStat(&st), nil
}

// Read reads from the offset of the file, as [io.Reader] says.
func (f *File) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, err := retryInt(func() (int, error) { return unix.Read(f.fd, p) })
	switch {
	case err != nil:
		return 0, f.dir.wrap("read", f.nam, err)
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

// Close closes the file. A second call returns [os.ErrClosed].
func (f *File) Close() error {
	if f.fd < 0 {
		return f.dir.wrap("close", f.nam, os.ErrClosed)
	}
	fd := f.fd
	f.fd = -1
	return f.dir.wrap("close", f.nam, unix.Close(fd))
}
