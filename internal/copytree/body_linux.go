package copytree

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/rootfd"
	"github.com/layerkeep/layerkeep/internal/sys"
)

const bufferSize = 1 << 20

// body copies the content of a file of size bytes. It tries to share the
// blocks, then to copy in the kernel, and then to copy through a buffer. The
// last two keep holes.
func (c *copier) body(in, out int, size int64) error {
	if size == 0 {
		return nil
	}
	if c.opts.Reflink {
		err := unix.IoctlFileClone(out, in)
		if err == nil {
			return nil
		}
		if !isUnsupported(err) {
			return err
		}
		// The file system may refuse only this file, so the next file tries again.
	}
	if err := unix.Ftruncate(out, size); err != nil {
		return err
	}
	for at := int64(0); at < size; {
		start, end, err := rootfd.NextData(in, at, size)
		if err != nil || start >= size {
			return err
		}
		if err := c.segment(in, out, start, end-start); err != nil {
			return err
		}
		at = end
	}
	return nil
}

func (c *copier) segment(in, out int, at, length int64) error {
	for length > 0 && c.opts.CopyRange {
		from, to := at, at
		n, err := unix.CopyFileRange(in, &from, out, &to, int(min(length, 1<<30)), 0)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case isUnsupported(err), err == nil && n == 0:
			// This also happens on file systems whose files look empty to this call.
			c.opts.CopyRange = false
		case err != nil:
			return err
		}
		if err == nil {
			at, length = at+int64(n), length-int64(n)
		}
	}
	return c.through(in, out, at, length)
}

// through copies through a buffer.
func (c *copier) through(in, out int, at, length int64) error {
	if length > 0 && c.buf == nil {
		c.buf = make([]byte, bufferSize)
	}
	for length > 0 {
		n, err := unix.Pread(in, c.buf[:min(length, int64(len(c.buf)))], at)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		if n == 0 {
			return io.ErrUnexpectedEOF
		}
		for done := 0; done < n; {
			w, err := unix.Pwrite(out, c.buf[done:n], at+int64(done))
			if err != nil && !errors.Is(err, unix.EINTR) {
				return err
			}
			done += max(w, 0)
		}
		at, length = at+int64(n), length-int64(n)
	}
	return nil
}

// CanReflink tries to share blocks between two files in dir. It returns an
// error only if the failure says nothing about the file system, see
// [sys.UsedUp].
func CanReflink(dir string) (bool, error) {
	try := func() error {
		a, err := os.CreateTemp(dir, ".reflink-")
		if err != nil {
			return err
		}
		defer a.Close()
		if _, err := a.Write(make([]byte, 4096)); err != nil {
			return err
		}
		b, err := os.CreateTemp(dir, ".reflink-")
		if err != nil {
			return err
		}
		defer b.Close()
		return unix.IoctlFileClone(int(b.Fd()), int(a.Fd()))
	}
	err := try()
	if sys.UsedUp(err) {
		return false, fmt.Errorf("share blocks between files in %s: %w", dir, err)
	}
	return err == nil, nil
}
