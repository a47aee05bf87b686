package image

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
)

// dirBag is a directory. It follows symbolic links that stay inside. It opens
// only regular files, because opening a device can have effects, and opening a
// fifo can block.
type dirBag struct {
	root *os.Root
	// dir is the same directory as root.
	dir *os.File
}

func openDirBag(name string) (*dirBag, error) {
	root, err := os.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	dir, err := root.Open(".")
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return &dirBag{root, dir}, nil
}

func (d *dirBag) open(name string) (io.ReadCloser, int64, error) {
	f, err := d.openPlain(path.Clean(name))
	if err != nil {
		return nil, 0, err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = notRegular(name)
	}
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, st.Size(), nil
}

func (d *dirBag) Close() error { return errors.Join(d.dir.Close(), d.root.Close()) }

func notRegular(name string) error {
	return fmt.Errorf("%w: %s is not a regular file", ErrInvalid, name)
}

// leadsOut is the error for a link that is not followed.
func leadsOut(name string) error {
	return fmt.Errorf("%w: %s is behind a symbolic link that is absolute, or leads out of there", ErrLink, name)
}

// openByStat replaces openPlain on systems that have nothing better. It has a
// race: a program that replaces the file between the two calls can make it open
// another kind of file.
func (d *dirBag) openByStat(name string) (*os.File, error) {
	st, err := d.root.Stat(name)
	if err == nil && !st.Mode().IsRegular() {
		err = notRegular(name)
	}
	if err == nil {
		return d.root.Open(name)
	}
	// The error for a link that leads out cannot be told from other errors. But if
	// the file exists for the system and not in the root, it is behind such a link.
	if _, e := os.Stat(path.Join(d.root.Name(), name)); e == nil && !errors.Is(err, ErrInvalid) {
		err = leadsOut(name)
	}
	return nil, err
}
