package btrfs

import (
	"context"
	"errors"
	"os"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/layerdir"
	"github.com/layerkeep/layerkeep/internal/layerlife"
	"github.com/layerkeep/layerkeep/internal/subvol"
)

// View opens the layer's tree.
func (d *backend) View(_ context.Context, l layerlife.Layer) (diff.View, error) {
	return d.tree(l.ID, l.Meta)
}

func (d *backend) tree(id driver.ID, m layerdir.Meta) (*tree, error) {
	return openTree(d.vol(id, m), treeDir, treeOptions{sealed: m.Sealed || m.View, read: d.read()})
}

// Sides opens the trees of the parent and of the layer, and searches for the
// inodes that are newer than the snapshot.
func (d *backend) Sides(ctx context.Context, l layerlife.Layer) (parents, layer diff.View, err error) {
	id, m := l.ID, l.Meta
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

// base returns the transaction in which the layer's snapshot was made.
// Everything newer in the subvolume belongs to the layer. base returns 0 if the
// layer has no parent. It also returns 0 if another subvolume replaced that of
// the layer or of the parent, so that the transaction is not known.
func (d *backend) base(id driver.ID, m layerdir.Meta) (uint64, error) {
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
