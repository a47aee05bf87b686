package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/driver/all"
)

const probePrefix = ".snapctl-probe-"

// probeDriver opens a backend in a scratch directory, in root or the nearest
// directory above it that exists, and returns what it can.
func probeDriver(ctx context.Context, root string, b all.Backend) (props driver.Properties, err error) {
	dir, err := makeProbeDir(existingParent(root))
	if err != nil {
		return props, err
	}
	defer func() { err = errors.Join(err, dir.remove()) }()
	d, err := b.New(ctx, filepath.Join(dir.path, b.Name), driver.Options{})
	if err != nil {
		return props, err
	}
	return d.Properties(), d.Close()
}

// existingParent returns path or the nearest directory above it that exists.
func existingParent(path string) string {
	abs, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	for {
		info, err := os.Stat(abs)
		if err == nil && info.IsDir() || abs == filepath.Dir(abs) {
			return abs
		}
		abs = filepath.Dir(abs)
	}
}

// A probeDir is a scratch directory. It is locked, and the kernel drops the
// lock with the process, so that the next command knows which ones a killed one
// has left.
type probeDir struct {
	path string
	lock *os.File
}

// makeProbeDir makes a scratch directory in parent, and removes what killed
// commands have left there.
func makeProbeDir(parent string) (*probeDir, error) {
	removeDeadProbes(parent)
	for {
		path, err := os.MkdirTemp(parent, probePrefix)
		if err != nil {
			return nil, err
		}
		lock, err := lockProbe(path)
		if err == nil {
			return &probeDir{path: path, lock: lock}, nil
		}
		// Another command may take it for a dead one before it is locked.
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errors.Join(err, os.Remove(path))
		}
	}
}

func (d *probeDir) remove() error {
	return errors.Join(os.RemoveAll(d.path), d.lock.Close())
}

// lockProbe locks the directory at path. The error is ErrNotExist when it is
// not there any longer, and EWOULDBLOCK when somebody else has the lock.
func lockProbe(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(&fs.PathError{Op: "lock", Path: path, Err: err}, f.Close())
	}
	// It may have been removed before it was locked.
	opened, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	named, err := os.Lstat(path)
	if err == nil && !os.SameFile(opened, named) {
		err = &fs.PathError{Op: "lock", Path: path, Err: fs.ErrNotExist}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// removeDeadProbes removes the scratch directories of commands that were
// killed. What cannot be removed stays: it is in nobody's way.
func removeDeadProbes(parent string) {
	if !onlyOwnersRename(parent) {
		return
	}
	entries, err := os.ReadDir(parent)
	if err != nil {
		return
	}
	for _, e := range entries {
		path := filepath.Join(parent, e.Name())
		if !strings.HasPrefix(e.Name(), probePrefix) || !privateDir(path) {
			continue
		}
		if lock, err := lockProbe(path); err == nil {
			_ = (&probeDir{path: path, lock: lock}).remove()
		}
	}
}

// onlyOwnersRename reports whether nobody but root can give one of our
// directories in dir another name. Where others can, a name proves nothing.
func onlyOwnersRename(dir string) bool {
	var st unix.Stat_t
	if unix.Stat(dir, &st) != nil {
		return false
	}
	private := st.Mode&0o022 == 0 && (st.Uid == 0 || int(st.Uid) == os.Geteuid())
	return private || st.Mode&unix.S_ISVTX != 0
}

// privateDir reports whether path is a directory of this user that is closed to
// others.
func privateDir(path string) bool {
	var st unix.Stat_t
	return unix.Lstat(path, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR &&
		st.Mode&0o777 == 0o700 && int(st.Uid) == os.Geteuid()
}
