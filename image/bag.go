package image

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
)

// A bag is the set of files of a layout or archive, by slash-separated name.
type bag interface {
	// open returns a file and its size in bytes. For a missing file it returns an
	// error that matches fs.ErrNotExist. It is safe for concurrent use.
	open(name string) (io.ReadCloser, int64, error)
	Close() error
}

// has reports whether a bag has a file of that name. A file that cannot be
// opened counts: reading it later gives the error.
func has(b bag, name string) bool {
	f, _, err := b.open(name)
	if err == nil {
		f.Close()
	}
	return !errors.Is(err, fs.ErrNotExist)
}

// readDocument reads a whole small file of a bag.
func readDocument(b bag, name string) ([]byte, error) {
	f, size, err := b.open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if size > maxDocument {
		return nil, fmt.Errorf("%w: %s has %d bytes, at most %d are read", ErrInvalid, name, size, maxDocument)
	}
	if err := spend(b, size); err != nil {
		return nil, err
	}
	raw, err := readLimited(f, maxDocument)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return raw, nil
}

// randomFile is a file with random access. Several goroutines may read it.
type randomFile interface {
	io.ReadSeeker
	io.ReaderAt
	io.Closer
}
