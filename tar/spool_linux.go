package tar

import (
	stdtar "archive/tar"
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/sys"
)

// learnMarkers makes sure that every marker of the stream is known. A removal
// happens before all other changes, wherever it is in the stream. So the whole
// stream must be read before the reading can tell whether the parents still
// have a file. The rest of the stream, from the header of the current entry on,
// is then read again: the caller must return errAgain.
//
// Few layers need this; see parentLink and through.
func (u *reading) learnMarkers() error {
	if u.allMarks {
		return nil
	}
	return u.do.readAhead()
}

// readAhead copies the rest of the stream to a file without a name.
func (u *unpacker) readAhead() error {
	f, err := u.openSpool()
	if err != nil {
		return err
	}
	u.spool = f
	// copyBody writes it as the body of a file: zeros become holes, and some space
	// stays free.
	size, err := u.copyBody(int(f.Fd()), io.MultiReader(bytes.NewReader(u.tape.header), u.src))
	if err != nil {
		return err
	}
	start := u.tape.start
	if err := u.scan(io.NewSectionReader(f, 0, size)); err != nil {
		return err
	}
	u.allMarks = true
	u.tape = &tape{
		r: bufio.NewReaderSize(onlyReader{io.NewSectionReader(f, 0, size)}, blockSize), limit: u.limits.PAXBytes,
		pos: start,
	}
	u.tr = stdtar.NewReader(u.tape)
	u.entries, u.bytes = u.entries-1, u.bytes-u.size
	u.unread = false
	return errAgain
}

// scan reads the headers of the spooled stream for markers. It ignores errors
// in other entries, because they are found when the entries are read again.
func (u *unpacker) scan(r io.Reader) error {
	tr := stdtar.NewReader(bufio.NewReaderSize(r, 64<<10)) // the tar reader holds one header in memory, at most 1 MiB
	for entries := u.entries; entries <= u.limits.Entries+1; entries++ {
		if err := u.ctx.Err(); err != nil {
			return err
		}
		hdr, err := tr.Next()
		if err != nil && !errors.Is(err, stdtar.ErrInsecurePath) {
			return nil
		}
		if hdr.Typeflag == stdtar.TypeXGlobalHeader {
			continue
		}
		p, err := cleanPath(hdr.Name, u.limits.PathDepth, u.longest)
		if err != nil {
			return nil //nolint:nilerr // the error is found when the entry is read again
		}
		if _, err := readMarker(u.marks, p, hdr); err != nil {
			return nil //nolint:nilerr // the error is found when the entry is read again
		}
		if err := u.countEntries(); err != nil {
			return err
		}
	}
	return nil
}

func (u *unpacker) openSpool() (*os.File, error) { return openSpool(int(u.staging.Fd())) }

// openSpool opens a file in the staging directory that has no name, so it is
// deleted when it is closed.
func openSpool(dir int) (*os.File, error) {
	const name = ".wh..spool"
	fd, err := unix.Openat(dir, ".", unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		// Not every file system has O_TMPFILE.
		if fd, err = sys.Openat(dir, name, unix.O_CREAT|unix.O_EXCL|unix.O_RDWR, 0o600); err != nil {
			return nil, err
		}
		if err := sys.Unlinkat(dir, name); err != nil {
			unix.Close(fd)
			return nil, err
		}
	}
	return os.NewFile(uintptr(fd), name), nil
}

// onlyWriter hides the other methods of a writer.
type onlyWriter struct{ io.Writer }
