package aufs

import (
	"context"
	"fmt"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/layerlife"
)

// View opens the merged tree of the layer.
func (d *backend) View(_ context.Context, l layerlife.Layer) (diff.View, error) {
	v, err := d.view(d.branches(l.ID, l.Meta))
	if err != nil {
		return nil, err
	}
	return v, nil
}

// view opens the merged tree of the branches.
func (d *backend) view(l layers) (*stack, error) {
	v, err := openStack(l.branches, d.read())
	if err != nil {
		return nil, err
	}
	v.unsealed = !l.sealed
	d.mounts.translator.mark(v, l.ids)
	v.hints = l.own
	return v, nil
}

// Sides opens the merged trees of the parents and of the layer. A comparison
// reads the layer's own branch, and of the parents only entries with the same
// names.
func (d *backend) Sides(_ context.Context, l layerlife.Layer) (parents, layer diff.View, err error) {
	v, err := d.view(d.branches(l.ID, l.Meta))
	if err != nil {
		return nil, nil, err
	}
	return v.below(), v, nil
}

// Provider returns the layer that a path comes from.
func (d *backend) Provider(_ context.Context, id driver.ID, path string) (driver.ID, error) {
	from, err := d.provider(id, path)
	if err != nil {
		return "", fmt.Errorf("aufs: provider of %s in layer %s: %w", path, id, err)
	}
	return from, nil
}

func (d *backend) provider(id driver.ID, path string) (driver.ID, error) {
	l, err := d.layers(id)
	if err != nil {
		return "", err
	}
	v, err := d.view(l)
	if err != nil {
		return "", err
	}
	defer v.Close()
	i, err := v.provider(path)
	if err != nil {
		return "", err
	}
	return l.ids[i], nil
}
