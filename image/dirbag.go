package image

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
)

// dirBag is a directory. Symbolic links work as long as they stay inside.
// Nothing but regular files is opened: a device can act on being opened, and a
// fifo can wait.
type dirBag struct {
	root *os.Root
	// dir is the root itself.
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

// openByStat is openPlain where the operating system has nothing better: who
// puts something else in the place of the file between two calls has it opened.
func (d *dirBag) openByStat(name string) (*os.File, error) {
	st, err := d.root.Stat(name)
	if err == nil && !st.Mode().IsRegular() {
		err = notRegular(name)
	}
	if err == nil {
		return d.root.Open(name)
	}
	// A link that leads out has an error of its own, which cannot be told from
	// others. What is there for the system, and not in the root, is behind one.
	if _, e := os.Stat(path.Join(d.root.Name(), name)); e == nil && !errors.Is(err, ErrInvalid) {
		err = leadsOut(name)
	}
	return nil, err
}
