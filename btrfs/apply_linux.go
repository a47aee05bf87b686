package btrfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/layerdir"
	"github.com/layerkeep/layerkeep/internal/layerlife"
	"github.com/layerkeep/layerkeep/internal/rmtree"
	"github.com/layerkeep/layerkeep/internal/subvol"
	"github.com/layerkeep/layerkeep/internal/whiteout"
	"github.com/layerkeep/layerkeep/tar"
)

// ApplyDiff implements [driver.Driver].
func (d *btrfs) ApplyDiff(ctx context.Context, id driver.ID, layer io.Reader, opts driver.ApplyOptions) (driver.Applied, error) {
	applied, err := d.Driver.ApplyDiff(ctx, id, layer, opts)
	if errors.Is(err, unix.ENOSPC) {
		err = errors.Join(err, d.commit())
	}
	return applied, err
}

// commit forces a transaction commit. The kernel keeps the space of deleted
// files until then.
func (d *backend) commit() error {
	root, err := os.Open(d.store.Root())
	if err != nil {
		return err
	}
	defer root.Close()
	return subvol.Sync(root)
}

// CheckWriters makes copies of the layer's mounts in other mount namespaces
// read-only. Sealing makes the subvolume read-only, also for such mounts, but
// files that were open before can still be written to.
func (d *backend) CheckWriters(ctx context.Context, id driver.ID) error {
	return d.store.NotWritableElsewhere(ctx, id)
}

// Target returns the layer's tree as the target. The layer tar is unpacked
// beside the tree in the same subvolume, because rename(2) cannot leave a
// subvolume.
func (d *backend) Target(ctx context.Context, l layerlife.Layer, opts driver.ApplyOptions) (*layerlife.Target, error) {
	err := d.makeWritable(l.ID, l.Meta)
	if err == nil { // nothing can be moved into a nested subvolume
		err = d.flatten(ctx, l.ID, l.Meta)
	}
	if err != nil {
		return nil, err
	}
	staging, done, err := d.staging(l.ID, l.Meta)
	if err != nil {
		return nil, err
	}
	parents, err := openTree(d.vol(l.ID, l.Meta), treeDir, treeOptions{read: d.read()})
	if err != nil {
		done()
		return nil, err
	}
	unpack := layerdir.UnpackOptions(d.opts, opts, l.ID, whiteout.Plain, false)
	unpack.Parents = parents
	return &layerlife.Target{
		Staging: staging, Options: unpack,
		Merge: func(ctx context.Context, delta *tar.Delta) error { return d.merge(ctx, l.ID, l.Meta, delta) },
		Close: func() { parents.Close(); done() },
	}, nil
}

// merge moves a delta into the tree. The size limit is lifted meanwhile: the
// delta in staging has already kept to it, but a rename could exceed it, and so
// could the rename that undoes it.
func (d *backend) merge(ctx context.Context, id driver.ID, m layerdir.Meta, delta *tar.Delta) error {
	tree, err := os.Open(d.store.Path(id, volDir, treeDir))
	if err != nil {
		return err
	}
	defer tree.Close()
	merged := false
	err = d.unlimited(id, m, func() error {
		err := delta.Merge(ctx, tar.Target{Root: tree, NoFchmodat2: d.opts.Fallbacks.NoFchmodat2})
		merged = err == nil
		return err
	})
	if err != nil && merged { // the merge is done and nothing undoes it
		err = fmt.Errorf("%w: limit the layer again: %w", tar.ErrTorn, err)
	}
	return err
}

// staging makes the directory that a layer tar is unpacked into. done closes
// and removes it.
func (d *backend) staging(id driver.ID, m layerdir.Meta) (f *os.File, done func(), err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	path, err := os.MkdirTemp(d.store.Path(id, volDir), stagingPrefix)
	if err != nil {
		return nil, nil, err
	}
	d.unpacking[path] = true
	f, err = os.Open(path)
	if err != nil {
		delete(d.unpacking, path)
		return nil, nil, errors.Join(err, os.Remove(path))
	}
	return f, func() {
		f.Close()
		// If the directory cannot be removed now, Seal or Cleanup will remove it.
		if d.unlimited(id, m, func() error { return d.removeStaging(id, path) }) != nil {
			d.uncleaned.Store(true)
		}
		d.mu.Lock()
		delete(d.unpacking, path)
		d.mu.Unlock()
	}, nil
}

// removeStaging removes a staging directory and the subvolumes that were moved
// into it.
func (d *backend) removeStaging(id driver.ID, path string) error {
	vol, err := os.Open(d.store.Path(id, volDir))
	if err != nil {
		return err
	}
	defer vol.Close()
	nested, err := subvol.NestedIn(vol)
	if err != nil {
		return err
	}
	for _, n := range nested {
		at, err := subvol.PathOf(vol, n.Dir)
		if err != nil {
			return err
		}
		if slices.Index(at, filepath.Base(path)) != 0 {
			continue
		}
		if err := d.destroyNested(vol, n); err != nil {
			return err
		}
	}
	return rmtree.Remove(path)
}

func (d *backend) destroyNested(vol *os.File, n subvol.Nested) error {
	dir, err := subvol.OpenDir(vol, n.Dir)
	if err != nil {
		return err
	}
	defer dir.Close()
	ids, err := subvol.DestroyAll(dir, n.Name)
	d.dropQgroups(ids)
	return err
}

// leftovers returns the staging directories of a layer that are not in use.
func (d *backend) leftovers(vol string) (paths []string, err error) {
	entries, err := os.ReadDir(vol)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, e := range entries {
		path := vol + "/" + e.Name()
		if strings.HasPrefix(e.Name(), stagingPrefix) && !d.unpacking[path] {
			paths = append(paths, path)
		}
	}
	return paths, nil
}
