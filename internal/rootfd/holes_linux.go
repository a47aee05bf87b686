package rootfd

import (
	"errors"

	"golang.org/x/sys/unix"
)

// NextData returns the start and end of the next part of an open file that is
// not a hole, from offset at on. size is the size of the file in bytes. If only
// a hole follows, the part is empty and at the end of the file. If the file
// system does not know about holes, the whole rest is data. NextData changes
// the offset of the file.
func NextData(fd int, at, size int64) (start, end int64, err error) {
	start, err = unix.Seek(fd, at, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO): // a hole up to the end
		return size, size, nil
	case errors.Is(err, unix.EINVAL):
		return at, size, nil
	case err != nil:
		return 0, 0, err
	case start >= size:
		return size, size, nil
	}
	end, err = unix.Seek(fd, start, unix.SEEK_HOLE)
	return start, min(end, size), err
}

// NextData calls the function [NextData] for the file.
func (f *File) NextData(at, size int64) (start, end int64, err error) {
	start, end, err = NextData(f.fd, at, size)
	return start, end, f.dir.wrap("lseek", f.nam, err)
}

// SeekTo sets the offset of the file, in bytes from its start.
func (f *File) SeekTo(at int64) error {
	_, err := unix.Seek(f.fd, at, unix.SEEK_SET)
	return f.dir.wrap("lseek", f.nam, err)
}
