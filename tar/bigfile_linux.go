package tar

import (
	stdtar "archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// isSparse reports whether the body already has holes in the stream.
func isSparse(hdr *stdtar.Header) bool {
	if hdr.Typeflag == stdtar.TypeGNUSparse {
		return true
	}
	for key := range hdr.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return false
}

// streamFile writes a body that is too large for a buffer, or has holes.
func (u *unpacker) streamFile(j *job, hdr *stdtar.Header) error {
	u.writers.flush() // the writers can work meanwhile
	fd, err := u.maker.create(j)
	if err != nil {
		return err
	}
	n, err := u.copyBody(fd, u.tr)
	switch {
	case err == nil && n == hdr.Size:
		u.unread = false
	case err == nil:
		err = io.ErrUnexpectedEOF
		fallthrough
	case !isLocal(err) && u.ctx.Err() == nil:
		err = u.readError(err)
	}
	return u.maker.complete(fd, j, j.attrs.Mode&^u.maker.masked&0o777, err)
}

// isLocal reports whether an error came from writing the file.
func isLocal(err error) bool {
	var perr *os.PathError
	return errors.As(err, &perr) && perr.Op == opWrite
}

const (
	opWrite  = "write"
	holeSize = 4 << 10
)

var zeros [holeSize]byte

// copyBody copies a body into an open file. It turns pages of zeros into holes:
// a layer cannot express in another way that a file is sparse.
func (u *unpacker) copyBody(fd int, r io.Reader) (int64, error) {
	if u.buf == nil {
		u.buf = arenaSpaces.get()
	}
	var at int64
	for {
		n, err := io.ReadFull(r, u.buf)
		if n > 0 {
			written, werr := writeChunk(fd, u.buf[:n], at)
			if werr == nil {
				werr = u.room.take(written)
			}
			if werr != nil {
				return at, werr
			}
			at += int64(n)
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF { //nolint:errorlint // of ReadFull itself
			return at, writeError(unix.Ftruncate(fd, at))
		}
		if err == nil {
			err = u.ctx.Err()
		}
		if err != nil {
			return at, err
		}
	}
}

// writeChunk writes a chunk at an offset, and returns how many bytes it has
// written. Holes do not count.
func writeChunk(fd int, b []byte, at int64) (written int64, err error) {
	for len(b) > 0 {
		skip := zeroRun(b)
		b, at = b[skip:], at+int64(skip)
		part := b[:dataRun(b)]
		for len(part) > 0 {
			n, err := unix.Pwrite(fd, part, at)
			if errors.Is(err, unix.EINTR) {
				continue
			}
			if err != nil {
				return written, writeError(err)
			}
			part, b, at = part[n:], b[n:], at+int64(n)
			written += int64(n)
		}
	}
	return written, nil
}

// zeroRun returns the number of bytes at the start of b that are pages of
// zeros.
func zeroRun(b []byte) int {
	n := 0
	for n < len(b) {
		page := b[n:min(n+holeSize, len(b))]
		if !bytes.Equal(page, zeros[:len(page)]) {
			break
		}
		n += len(page)
	}
	return n
}

// dataRun returns the number of bytes in b before the next page of zeros.
func dataRun(b []byte) int {
	n := 0
	for n < len(b) {
		page := b[n:min(n+holeSize, len(b))]
		if bytes.Equal(page, zeros[:len(page)]) {
			break
		}
		n += len(page)
	}
	return n
}

func writeError(err error) error {
	if err == nil {
		return nil
	}
	return &os.PathError{Op: opWrite, Path: "layer file", Err: err}
}
