package recipe

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/layerkeep/layerkeep/diff"
)

// maxLinks is how many symbolic links the path of an entry may lead through.
const maxLinks = 255

// files are the bodies of regular files in a view, by the names that a tar has
// for them. It is a [storage.FileGetter].
type files struct {
	view diff.View
	// dir is the directory that the last file was in, by its name in the tar.
	dir   diff.Dir
	named string
	// failed is the error of opening or reading a file.
	failed error
}

// Get implements [storage.FileGetter].
func (f *files) Get(name string) (io.ReadCloser, error) {
	r, err := f.open(name)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: %w", ErrDiffers, err)
	}
	if err != nil {
		f.failed = fmt.Errorf("%s: %w", name, err)
		return nil, f.failed
	}
	return body{r, f, name}, nil
}

// A body is a file whose errors are remembered.
type body struct {
	io.ReadCloser
	of   *files
	name string
}

func (b body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("%s: %w", b.name, err)
		b.of.failed = err
	}
	return n, err
}

func (f *files) open(name string) (io.ReadCloser, error) {
	parts := split(name)
	if len(parts) == 0 {
		return nil, fmt.Errorf("%w: the root has no body", ErrDiffers)
	}
	parent := path.Join(parts[:len(parts)-1]...)
	if f.dir == nil || f.named != parent {
		if err := f.enter(parts[:len(parts)-1]); err != nil {
			return nil, err
		}
		f.named = parent
	}
	base := parts[len(parts)-1]
	n, err := f.dir.Lookup(base)
	if err != nil {
		return nil, err
	}
	if !n.IsRegular() {
		return nil, fmt.Errorf("%w: it is no regular file", ErrDiffers)
	}
	return f.dir.Open(base)
}

// enter makes dir the directory of these names. A symbolic link leads where it
// leads the applier, which never leaves the tree.
func (f *files) enter(parts []string) error {
	err := f.Close()
	if err != nil {
		return err
	}
	dir, err := f.view.Root()
	if err != nil {
		return err
	}
	var at []string // where dir is
	for links := 0; len(parts) > 0; {
		name := parts[0]
		parts = parts[1:]
		n, err := dir.Lookup(name)
		if err != nil {
			return errors.Join(err, dir.Close())
		}
		switch {
		case n.IsDir():
			sub, err := dir.OpenDir(name)
			if err := errors.Join(err, dir.Close()); err != nil {
				return err
			}
			dir, at = sub, append(at, name)
		case n.IsSymlink() && links < maxLinks:
			links++
			target, err := dir.Readlink(name)
			if err := errors.Join(err, dir.Close()); err != nil {
				return err
			}
			if !path.IsAbs(target) {
				target = path.Join(path.Join(at...), target)
			}
			parts, at = append(split(target), parts...), nil
			if dir, err = f.view.Root(); err != nil {
				return err
			}
		default:
			return errors.Join(fmt.Errorf("%w: %s is no directory", ErrDiffers, name), dir.Close())
		}
	}
	f.dir = dir
	return nil
}

// split cleans a path of a tar and returns its components.
func split(name string) []string {
	clean := path.Clean("/" + name)
	if clean == "/" {
		return nil
	}
	return strings.Split(clean[1:], "/")
}

// Close closes the directory that is open.
func (f *files) Close() error {
	if f.dir == nil {
		return nil
	}
	err := f.dir.Close()
	f.dir, f.named = nil, ""
	return err
}
