package btrfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/rmtree"
	"github.com/layerkeep/layerkeep/internal/subvol"
)

// Remove implements [driver.Driver].
func (d *btrfs) Remove(ctx context.Context, id driver.ID) error {
	if err := d.Driver.Remove(ctx, id); err != nil {
		return err
	}
	d.uncleaned.Store(true)
	return nil
}

// Leftovers implements [driver.Placer]. It is also true after a Remove, until a
// Cleanup: only Cleanup frees the space of a removed layer and its quota group.
func (d *btrfs) Leftovers() bool { return d.uncleaned.Load() || d.Parts.Leftovers() }

// Cleanup deletes removed layers and what interrupted calls left behind, in the
// store and in layers.
func (d *btrfs) Cleanup(ctx context.Context) error {
	if err := d.store.Changeable(); err != nil {
		return fmt.Errorf("btrfs: clean up: %w", err)
	}
	d.uncleaned.Store(false)
	err := errors.Join(d.store.Cleanup(ctx), d.cleanLayers(ctx))
	d.dropQgroups(nil)
	err = errors.Join(err, d.commit()) // the kernel now starts to free the space
	if err != nil {
		d.uncleaned.Store(true)
	}
	return err
}

// cleanLayers deletes what interrupted calls left in layers.
func (d *backend) cleanLayers(ctx context.Context) error {
	ids, err := d.store.List()
	if err != nil {
		return err
	}
	var errs []error
	for _, id := range ids {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := d.cleanLayer(id)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, driver.ErrNotFound) {
			continue // removed meanwhile
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (d *backend) cleanLayer(id driver.ID) error {
	vol := d.store.Path(id, volDir)
	if left, err := d.leftovers(vol); err != nil || len(left) == 0 {
		if errors.Is(err, fs.ErrNotExist) { // a view
			return nil
		}
		return err
	}
	d.sealing.Lock()
	defer d.sealing.Unlock()
	m, err := d.store.Load(id)
	if err != nil || m.Sealed {
		return err
	}
	left, err := d.leftovers(vol)
	if err != nil {
		return err
	}
	if err := d.makeWritable(id, m); err != nil {
		return err
	}
	return d.removeLeftovers(id, m, left)
}

// delete is [rmtree.Remove] for a directory of the store that may have
// subvolumes. It is quick, because the kernel frees the content of subvolumes
// later.
func (d *backend) delete(path string) error {
	d.deleting.Lock()
	defer d.deleting.Unlock()
	ids, err := destroyBelow(path, 1)
	d.dropQgroups(ids)
	if err != nil {
		return err
	}
	return rmtree.Remove(path)
}

// destroyBelow destroys the subvolumes in a directory, and in its
// subdirectories down to the given number of levels. A layer and its trash
// directory have one level. Trash of earlier versions had two.
func destroyBelow(path string, levels int) (ids []uint64, err error) {
	dir, err := openDir(path)
	if dir == nil || err != nil {
		return nil, err
	}
	defer dir.Close()
	if on, err := subvol.OnBtrfs(dir); err != nil || !on { // New has not checked this yet
		return nil, err
	}
	entries, err := dir.ReadDir(-1)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		more, err := destroyEntry(dir, e.Name(), levels)
		ids = append(ids, more...)
		if err != nil {
			return ids, err
		}
	}
	return ids, nil
}

func destroyEntry(dir *os.File, name string, levels int) ([]uint64, error) {
	path := filepath.Join(dir.Name(), name)
	sub, err := openDir(path)
	if sub == nil || err != nil {
		return nil, err
	}
	is, err := subvol.IsSubvolume(sub)
	if err := errors.Join(err, sub.Close()); err != nil {
		return nil, err
	}
	switch {
	case is:
		return subvol.DestroyAll(dir, name)
	case levels > 0:
		return destroyBelow(path, levels-1)
	}
	return nil, nil
}

// openDir opens a directory. It returns nil if path does not exist or is not a
// directory.
func openDir(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil, nil
	}
	return f, err
}

// dropQgroups removes the quota groups of destroyed subvolumes, and those that
// were still busy at the last call. The ID of a subvolume is never used again,
// so a quota group that remains does no harm.
func (d *backend) dropQgroups(destroyed []uint64) {
	d.mu.Lock()
	ids := append(d.qgroups, destroyed...)
	d.qgroups = nil
	d.mu.Unlock()
	if len(ids) == 0 {
		return
	}
	root, err := os.Open(d.store.Root())
	if err != nil {
		return
	}
	defer root.Close()
	if q, err := subvol.QuotasOf(root); err != nil || !q.On {
		return
	}
	var busy []uint64
	for _, id := range ids {
		err := subvol.DestroyQgroup(root, id)
		if errors.Is(err, unix.EBUSY) {
			busy = append(busy, id)
		} else if err != nil {
			d.log.Warn("a quota group of a removed layer stays", "qgroup", fmt.Sprintf("0/%d", id), "error", err)
		}
	}
	d.mu.Lock()
	d.qgroups = append(d.qgroups, busy...)
	d.mu.Unlock()
}
