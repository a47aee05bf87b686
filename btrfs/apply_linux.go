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

// commit makes the kernel give back what was deleted, which it keeps until
// then.
func (d *backend) commit() error {
	root, err := os.Open(d.store.Root())
	if err != nil {
		return err
	}
	defer root.Close()
	return subvol.Sync(root)
}

// CheckWriters makes copies of the layer's mounts read-only that other mount
// namespaces have. A sealed layer is read-only by itself, also through such a
// mount, but not for files that were open before.
func (d *backend) CheckWriters(ctx context.Context, id driver.ID) error {
	return d.store.NotWritableElsewhere(ctx, id)
}

// Target is the tree. The stream is unpacked beside it in the same subvolume,
// from where it can be moved in.
func (d *backend) Target(ctx context.Context, l layerlife.Layer, opts driver.ApplyOptions) (*layerlife.Target, error) {
	err := d.makeWritable(l.ID, l.Meta)
	if err == nil { // nothing can be moved into a subvolume in the tree
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

// merge moves a delta in. The limit, which what was unpacked has kept to, is
// not in the way meanwhile: a rename could exceed it, and taking it back as
// well.
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
	if err != nil && merged { // nothing undoes it now
		err = fmt.Errorf("%w: limit the layer again: %w", tar.ErrTorn, err)
	}
	return err
}

// staging makes the directory that a layer is unpacked into. done closes and
// removes it.
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
		// What cannot be removed now, Seal or Cleanup will.
		if d.unlimited(id, m, func() error { return d.removeStaging(id, path) }) != nil {
			d.uncleaned.Store(true)
		}
		d.mu.Lock()
		delete(d.unpacking, path)
		d.mu.Unlock()
	}, nil
}

// removeStaging removes a staging directory, and the subvolumes that were moved
// there.
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

// leftovers returns the staging directories of a layer that nobody uses.
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
