package graphdriver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/sys/mountinfo"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/mount"
)

const (
	mountRootMode = 0o711
	mountDirMode  = 0o700
	// patience bounds how long an unmount waits for those who are about to go: a
	// process that has ended but was not waited for, say.
	patience = time.Second
)

// A mountTable knows the mount points of layers, DIR/ID, and how many users
// each has. Its methods on one ID are called under that layer's lock.
type mountTable struct {
	dir string

	mu     sync.Mutex
	points map[string]mountPoint
}

// A mountPoint is a layer that is mounted, or should be.
type mountPoint struct {
	users int
	// found: the mount was there when this process, or the engine, started, and
	// whether its users still are is not known. They count as one.
	found bool
}

// openMountTable makes the directory and looks for mounts that are there.
func openMountTable(dir string) (*mountTable, error) {
	if err := os.MkdirAll(filepath.Dir(dir), mountRootMode); err != nil {
		return nil, err
	}
	if err := os.Mkdir(dir, mountDirMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, err
	}
	if err := checkOwn(dir); err != nil {
		return nil, err
	}
	t := &mountTable{dir: dir, points: map[string]mountPoint{}}
	mounted, err := mountedBelow(dir)
	if err != nil {
		return nil, err
	}
	for _, id := range mounted {
		t.points[id] = mountPoint{users: 1, found: true}
	}
	return t, t.tidy()
}

// checkOwn refuses a directory in which somebody else could put things.
func checkOwn(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || !ok || int(stat.Uid) != os.Geteuid() || info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%s has to be a directory that only uid %d can write to: %w", dir, os.Geteuid(), errdefs.ErrFailedPrecondition)
	}
	return nil
}

// tidy removes mount points on which nothing is mounted.
func (t *mountTable) tidy() error {
	entries, err := os.ReadDir(t.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if _, used := t.points[e.Name()]; !used && checkID(e.Name()) == nil {
			if err := removeDir(t.target(e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// removeDir removes an empty directory, or none.
func removeDir(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// target is where the layer is mounted; the ID was checked.
func (t *mountTable) target(id string) string { return filepath.Join(t.dir, id) }

func (t *mountTable) point(id string) mountPoint {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.points[id]
}

func (t *mountTable) set(id string, p mountPoint) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.points[id] = p
}

func (t *mountTable) forget(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.points, id)
}

// used tells whether the layer has users.
func (t *mountTable) used(id string) bool { return t.point(id).users > 0 }

// ids lists the layers that are mounted.
func (t *mountTable) ids() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var ids []string
	for id := range t.points {
		ids = append(ids, id)
	}
	return ids
}

// forgetCounts makes every mount one that was found.
func (t *mountTable) forgetCounts() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id := range t.points {
		t.points[id] = mountPoint{users: 1, found: true}
	}
}

// acquire counts one more user of the layer and mounts it, in the way that how
// says, unless it is mounted.
func (t *mountTable) acquire(ctx context.Context, id string, how func() ([]mount.Mount, error)) (string, error) {
	target, point := t.target(id), t.point(id)
	if err := os.Mkdir(target, mountDirMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	mounted, err := mountinfo.Mounted(target)
	if err != nil {
		return "", err
	}
	if !mounted {
		// Whoever unmounted it behind our back has ended the earlier users too.
		point = mountPoint{}
		mounts, err := how()
		if err == nil {
			err = mount.All(ctx, mounts, target)
		}
		if err != nil {
			t.forget(id)
			return "", errors.Join(err, removeDir(target))
		}
	}
	point.users++
	t.set(id, point)
	return target, nil
}

// put counts one user less and unmounts the layer after the last.
func (t *mountTable) put(id string) error {
	point := t.point(id)
	if point.users > 1 {
		point.users--
		t.set(id, point)
		return nil
	}
	return t.drop(id)
}

// release unmounts a layer that has no users but perhaps ones of an earlier
// process or engine.
func (t *mountTable) release(id string) error {
	if p := t.point(id); p.users > 0 && (!p.found || p.users > 1) {
		return fmt.Errorf("%w: it is mounted on %s", driver.ErrBusy, t.target(id))
	}
	return t.drop(id)
}

// drop unmounts the layer, whoever uses it. Nothing mounted is no error. When
// it fails, the layer is one that is mounted and has no users.
func (t *mountTable) drop(id string) error {
	target := t.target(id)
	err := unmount(target)
	if err == nil {
		err = removeDir(target)
	}
	if err != nil {
		t.set(id, mountPoint{})
		return err
	}
	t.forget(id)
	return nil
}

// unmount unmounts what is on target, all of it, and waits a little for what is
// busy.
func unmount(target string) error {
	for wait := time.Millisecond; ; {
		err := mount.Unmount(target)
		switch {
		case errors.Is(err, mount.ErrNotMounted), errors.Is(err, fs.ErrNotExist):
			return nil
		case errors.Is(err, mount.ErrBusy) && wait < patience:
			time.Sleep(wait)
			wait *= 2
		case err != nil:
			return err
		}
	}
}
