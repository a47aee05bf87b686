package btrfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/copytree"
	"github.com/layerkeep/layerkeep/internal/layerdir"
	"github.com/layerkeep/layerkeep/internal/layerlife"
	"github.com/layerkeep/layerkeep/internal/rootfd"
	"github.com/layerkeep/layerkeep/internal/subvol"
	"github.com/layerkeep/layerkeep/internal/sys"
)

// Seal makes the layer immutable and durable. First it gives the tree the
// content that snapshots will show, and syncs it. Then it makes the subvolume
// read-only, which is a commit of its own and also makes the thawing durable.
// Last it writes the record. If Seal is interrupted before that, it can be
// repeated, or the layer can be written to again.
func (d *btrfs) Seal(ctx context.Context, id driver.ID) error {
	d.sealing.RLock()
	defer d.sealing.RUnlock()
	return d.Driver.Seal(ctx, id)
}

// Prepare removes files that are not part of the layer, and replaces subvolumes
// in it by plain directories.
func (d *backend) Prepare(ctx context.Context, l *layerlife.Layer) error {
	return d.prepare(ctx, l.ID, l.Meta)
}

// Settle sets the layer's usage, thaws the layer and makes the subvolume
// read-only.
func (d *backend) Settle(ctx context.Context, l *layerlife.Layer) error {
	usage, err := d.measure(ctx, l.ID, l.Meta, true)
	if err != nil {
		return err
	}
	l.Meta.Usage = &usage
	l.IDMap = nil // a mapped bind stores the container's IDs
	if err := d.thaw(ctx, l.ID, l.Meta); err != nil {
		return err
	}
	return d.setReadOnly(l.ID)
}

func (d *backend) setReadOnly(id driver.ID) error {
	vol, err := os.Open(d.store.Path(id, volDir))
	if err != nil {
		return err
	}
	defer vol.Close()
	return subvol.SetReadOnly(vol, true)
}

// prepare does the work of Prepare for the given record.
func (d *backend) prepare(ctx context.Context, id driver.ID, m layerdir.Meta) error {
	if err := d.makeWritable(id, m); err != nil {
		return err
	}
	left, err := d.leftovers(d.store.Path(id, volDir))
	if err == nil {
		err = d.removeLeftovers(id, m, left)
	}
	if err != nil {
		return err
	}
	return d.flatten(ctx, id, m)
}

// removeLeftovers removes the staging directories in left.
func (d *backend) removeLeftovers(id driver.ID, m layerdir.Meta, left []string) error {
	if len(left) == 0 {
		return nil
	}
	d.deleting.Lock()
	defer d.deleting.Unlock()
	return d.unlimited(id, m, func() error {
		for _, path := range left {
			if err := d.removeStaging(id, path); err != nil {
				return fmt.Errorf("remove what is left in %s: %w", path, err)
			}
		}
		return nil
	})
}

// flatten replaces every subvolume in the tree by a directory with the same
// content, which shares the blocks.
func (d *backend) flatten(ctx context.Context, id driver.ID, m layerdir.Meta) error {
	vol, err := os.Open(d.store.Path(id, volDir))
	if err != nil {
		return err
	}
	defer vol.Close()
	nested, err := subvol.NestedIn(vol)
	if err != nil || len(nested) == 0 {
		return err
	}
	return d.unlimited(id, m, func() error {
		m.Size = 0 // so that no function below restores the limit
		for _, n := range nested {
			at, err := subvol.PathOf(vol, n.Dir)
			if err == nil && slices.Index(at, treeDir) == 0 { // skip subvolumes in a staging directory
				err = d.flattenOne(ctx, id, m, vol, n)
			}
			if err != nil {
				return fmt.Errorf("make a directory of the subvolume %q: %w", n.Name, err)
			}
		}
		return nil
	})
}

func (d *backend) flattenOne(ctx context.Context, id driver.ID, m layerdir.Meta, vol *os.File, n subvol.Nested) error {
	holder, err := subvol.OpenDir(vol, n.Dir)
	if err != nil {
		return err
	}
	defer holder.Close()
	staging, done, err := d.staging(id, m)
	if err != nil {
		return err
	}
	defer done()
	const name = "directory"
	if err := d.copySubvolume(ctx, holder, n.Name, filepath.Join(staging.Name(), name)); err != nil {
		return err
	}
	if err := swap(holder, n.Name, staging, name); err != nil {
		return err
	}
	ids, err := subvol.DestroyAll(staging, name)
	d.dropQgroups(ids)
	return err
}

// copySubvolume copies the content of a subvolume, including nested subvolumes.
// It makes the original writable, because only a writable directory can be
// moved to another directory.
func (d *backend) copySubvolume(ctx context.Context, holder *os.File, name, to string) error {
	if err := os.Mkdir(to, 0o700); err != nil {
		return err
	}
	dst, err := rootfd.Open(to, rootfd.Options{})
	if err != nil {
		return err
	}
	defer dst.Close()
	dir, err := rootfd.FromFile(holder, d.read())
	if err != nil {
		return err
	}
	defer dir.Close()
	src, err := dir.OpenDir(name)
	if err != nil {
		return err
	}
	defer src.Close()
	vol, err := os.Open(sys.ProcFD(src.Fd()))
	if err != nil {
		return err
	}
	defer vol.Close()
	if err := subvol.SetReadOnly(vol, false); err != nil {
		return err
	}
	return copytree.Copy(ctx, src, dst, copytree.Options{
		Stubs: true, Reflink: d.reflink, CopyRange: !d.opts.Fallbacks.NoCopyRange, NoFchmodat2: d.opts.Fallbacks.NoFchmodat2,
	})
}

// swap exchanges name in dir with otherName in other. It restores the times of
// dir, because the content of the layer does not change.
func swap(dir *os.File, name string, other *os.File, otherName string) error {
	st, err := sys.Fstat(int(dir.Fd()))
	if err != nil {
		return err
	}
	err = sys.Renameat2(int(dir.Fd()), name, int(other.Fd()), otherName, unix.RENAME_EXCHANGE)
	return errors.Join(err, sys.Futimens(int(dir.Fd()), &[2]unix.Timespec{st.Atim, st.Mtim}))
}
