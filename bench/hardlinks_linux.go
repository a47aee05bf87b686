package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/bench/disk"
	"github.com/layerkeep/layerkeep/driver"
)

// hardlinks is the scheme of the driver "overlay" that Docker had before
// overlay2: a layer is a whole tree, whose files are hard links to those of its
// parent. It is here to show what that costs in inodes: directories and
// symbolic links have no hard links, so each layer has all of them again.
// Nothing can be mounted.
func hardlinks() *Subject {
	return &Subject{
		Name: "hardlinks", About: "each layer a tree of hard links to its parent, as the old driver overlay kept them",
		Suites: []string{inodeSuiteName}, Reference: true,
		Open: func(_ context.Context, dir string) (Store, error) {
			return hardlinkStore{bareStore{dir}, map[string]bool{}}, nil
		},
	}
}

type hardlinkStore struct {
	bareStore
	// over has the layers that were made over a parent.
	over map[string]bool
}

// Create makes a tree of hard links to the nearest parent.
func (s hardlinkStore) Create(_ context.Context, name string, parents []string) (err error) {
	to := s.path(name)
	if len(parents) == 0 {
		return os.Mkdir(to, 0o755)
	}
	s.over[name] = true
	if err := linkTree(s.path(parents[0]), to); err != nil {
		return errors.Join(err, disk.Remove(to))
	}
	return nil
}

func linkTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		switch {
		case e.IsDir():
			return os.Mkdir(target, 0o755)
		case e.Type() == fs.ModeSymlink:
			link, err := os.Readlink(path)
			if err != nil {
				return err
			}
			return os.Symlink(link, target)
		}
		return os.Link(path, target)
	})
}

// Usage counts what is not there once more in the parent: directories, symbolic
// links, and files with one name.
func (s hardlinkStore) Usage(ctx context.Context, name string) (u driver.Usage, err error) {
	if !s.over[name] {
		return s.bareStore.Usage(ctx, name)
	}
	err = filepath.WalkDir(s.path(name), func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return &os.PathError{Op: "lstat", Path: path, Err: err}
		}
		if e.Type().IsRegular() && st.Nlink > 1 {
			return nil
		}
		u.Inodes++
		u.Bytes += st.Blocks * 512
		return nil
	})
	return u, err
}

func (hardlinkStore) Mount(context.Context, string, string, MountOptions) error {
	return fmt.Errorf("%w: it is not mounted", driver.ErrUnsupported)
}

func (hardlinkStore) Diff(context.Context, string, io.Writer) error {
	return fmt.Errorf("%w: it is not compared", driver.ErrUnsupported)
}
