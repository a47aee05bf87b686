package image

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"syscall"
)

// A bag is the files of a layout or archive, by their slash-separated names.
type bag interface {
	// open returns a file and its size; an error matching fs.ErrNotExist when
	// it is not there. Safe for concurrent use.
	open(name string) (io.ReadCloser, int64, error)
	Close() error
}

// has reports whether a bag holds a file.
func has(b bag, name string) bool {
	f, _, err := b.open(name)
	if err != nil {
		return false
	}
	f.Close()
	return true
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
	raw, err := readLimited(f, maxDocument)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return raw, nil
}

// dirBag is a directory. Symbolic links work as long as they stay inside.
type dirBag struct {
	root *os.Root
}

func openDirBag(dir string) (*dirBag, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &dirBag{root}, nil
}

func (d *dirBag) open(name string) (io.ReadCloser, int64, error) {
	// O_NONBLOCK: a fifo must not make us wait for a writer.
	f, err := d.root.OpenFile(path.Clean(name), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, err
	}
	st, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	if !st.Mode().IsRegular() {
		f.Close()
		return nil, 0, fmt.Errorf("%w: %s is not a regular file", ErrInvalid, name)
	}
	return f, st.Size(), nil
}

func (d *dirBag) Close() error { return d.root.Close() }

// randomFile is a file that can be read at any place, several at a time.
type randomFile interface {
	io.ReadSeeker
	io.ReaderAt
	io.Closer
}

// A tarBag is a tar file, read at random.
type tarBag struct {
	file  randomFile
	files map[string]extent
	links map[string]string
}

// extent is where the body of an entry lies.
type extent struct{ offset, size int64 }

// maxLinks is how many symbolic links are followed, as in Linux.
const maxLinks = 40

func (t *tarBag) open(name string) (io.ReadCloser, int64, error) {
	for range maxLinks {
		if e, ok := t.files[name]; ok {
			return io.NopCloser(io.NewSectionReader(t.file, e.offset, e.size)), e.size, nil
		}
		target, ok := t.links[name]
		if !ok {
			return nil, 0, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
		}
		name = target
	}
	return nil, 0, fmt.Errorf("%w: archive entry %s: too many links", ErrInvalid, name)
}

func (t *tarBag) Close() error { return t.file.Close() }
