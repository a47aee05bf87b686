package btrfs

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/layerdir"
	"github.com/layerkeep/layerkeep/internal/subvol"
)

// View opens the layer's tree.
func (d *btrfs) View(_ context.Context, id driver.ID) (diff.View, error) {
	m, err := d.store.Load(id)
	if err != nil {
		return nil, fmt.Errorf("btrfs: view layer %s: %w", id, err)
	}
	t, err := d.tree(id, m)
	if err != nil {
		return nil, fmt.Errorf("btrfs: view layer %s: %w", id, err)
	}
	return t, nil
}

func (d *btrfs) tree(id driver.ID, m layerdir.Meta) (*tree, error) {
	return openTree(d.vol(id, m), treeDir, treeOptions{sealed: m.Sealed || m.View, read: d.read()})
}

// Sides opens the trees of the parent and of the layer, and searches for the inodes that are
// newer than the snapshot.
func (d *btrfs) Sides(ctx context.Context, id driver.ID) (parents, layer diff.View, err error) {
	if parents, layer, err = d.sides(ctx, id); err != nil {
		return nil, nil, fmt.Errorf("btrfs: open layer %s to compare it: %w", id, err)
	}
	return parents, layer, nil
}

// sides opens what Compare needs: nothing for a view, no old side for a layer
// without parents.
func (d *btrfs) sides(ctx context.Context, id driver.ID) (old, updated diff.View, err error) {
	m, err := d.store.Load(id)
	if err != nil || m.View {
		return nil, nil, err
	}
	t, err := d.tree(id, m)
	if err != nil {
		return nil, nil, err
	}
	if len(m.Parents) == 0 {
		return nil, t, nil
	}
	parent, err := openTree(d.store.Path(m.Parents[0], volDir), treeDir, treeOptions{sealed: true, read: d.read()})
	if err != nil {
		return nil, nil, errors.Join(err, t.Close())
	}
	base, err := d.base(id, m)
	if err == nil {
		err = t.compareWith(ctx, parent, base)
	}
	if err != nil {
		return nil, nil, errors.Join(err, parent.Close(), t.Close())
	}
	return parent, t, nil
}

// base returns the transaction after which everything in the layer's subvolume is
// its own; 0 when all of it is, or when that is not known since somebody has put
// another subvolume in the place of this one or of the parent's.
func (d *btrfs) base(id driver.ID, m layerdir.Meta) (uint64, error) {
	if len(m.Parents) == 0 {
		return 0, nil
	}
	own, err := infoOf(d.store.Path(id, volDir))
	if err != nil {
		return 0, err
	}
	parent, err := infoOf(d.store.Path(m.Parents[0], volDir))
	if err != nil {
		return 0, err
	}
	if own.ParentUUID != parent.UUID {
		d.log.Warn("comparing everything: the layer is no snapshot of its parent", "layer", id, "parent", m.Parents[0])
		return 0, nil
	}
	return own.Otransid, nil
}

// infoOf is [subvol.InfoOf] for a path.
func infoOf(path string) (subvol.Info, error) {
	f, err := os.Open(path)
	if err != nil {
		return subvol.Info{}, err
	}
	defer f.Close()
	return subvol.InfoOf(f)
}
