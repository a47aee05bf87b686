package image

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
)

// A bag is the files of a layout or archive, by their slash-separated names.
type bag interface {
	// open returns a file and its size; an error matching fs.ErrNotExist when
	// it is not there. Safe for concurrent use.
	open(name string) (io.ReadCloser, int64, error)
	Close() error
}

// has reports whether a bag holds something of that name. What cannot be opened
// is there, too: whoever reads it says why.
func has(b bag, name string) bool {
	f, _, err := b.open(name)
	if err == nil {
		f.Close()
	}
	return !errors.Is(err, fs.ErrNotExist)
}

// readDocument reads a small file of a bag whole.
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

// randomFile is a file that can be read at any place, several at a time.
type randomFile interface {
	io.ReadSeeker
	io.ReaderAt
	io.Closer
}
