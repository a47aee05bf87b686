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

// learnMarkers makes sure that every marker of the stream is known. Removals
// happen before everything else wherever they stand in the stream, so whoever
// needs to know whether the parents still have a file has to have seen the
// whole stream. The rest of it, from the current entry's header on, is read
// again then: the caller passes errAgain on.
//
// Few layers ever need this; see parentLink and through.
func (u *reading) learnMarkers() error {
	if u.allMarks {
		return nil
	}
	return u.do.readAhead()
}

// readAhead keeps the rest of the stream in a file without a name.
func (u *unpacker) readAhead() error {
	f, err := u.openSpool()
	if err != nil {
		return err
	}
	u.spool = f
	// As the body of a file: zeros become holes, and some space stays free.
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

// scan reads the headers of the spooled stream for markers. What is wrong with
// other entries is found when their turn comes.
func (u *unpacker) scan(r io.Reader) error {
	tr := stdtar.NewReader(bufio.NewReaderSize(r, 64<<10)) // which holds one header, of at most 1 MiB
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
			return nil //nolint:nilerr // its turn comes
		}
		if _, err := readMarker(u.marks, p, hdr); err != nil {
			return nil //nolint:nilerr // its turn comes
		}
		if err := u.countEntries(); err != nil {
			return err
		}
	}
	return nil
}

func (u *unpacker) openSpool() (*os.File, error) { return openSpool(int(u.staging.Fd())) }

// openSpool opens a file in the staging directory that vanishes when closed.
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

// onlyWriter hides what else a writer can do.
type onlyWriter struct{ io.Writer }
