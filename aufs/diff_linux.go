package aufs

import (
	"context"
	"fmt"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/driver"
)

// View opens the merged tree of the layer.
func (d *aufs) View(_ context.Context, id driver.ID) (diff.View, error) {
	v, _, err := d.view(id)
	if err != nil {
		return nil, fmt.Errorf("aufs: view layer %s: %w", id, err)
	}
	return v, nil
}

func (d *aufs) view(id driver.ID) (*stack, layers, error) {
	l, err := d.layers(id)
	if err != nil {
		return nil, l, err
	}
	v, err := openStack(l.branches, d.read())
	if err != nil {
		return nil, l, err
	}
	v.unsealed = !l.sealed
	d.mounts.translator.mark(v, l.ids)
	v.hints = l.own
	return v, l, nil
}

// Sides opens the views of the parents and of the layer. A comparison reads the layer's own
// branch and, of its parents, only what has the same names.
func (d *aufs) Sides(_ context.Context, id driver.ID) (parents, layer diff.View, err error) {
	v, l, err := d.view(id)
	if err != nil {
		return nil, nil, fmt.Errorf("aufs: open layer %s to compare it: %w", id, err)
	}
	if !l.own { // a view changes nothing
		return nil, nil, v.Close()
	}
	return v.below(), v, nil
}

// Provider tells which layer a path comes from.
func (d *aufs) Provider(_ context.Context, id driver.ID, path string) (driver.ID, error) {
	from, err := d.provider(id, path)
	if err != nil {
		return "", fmt.Errorf("aufs: provider of %s in layer %s: %w", path, id, err)
	}
	return from, nil
}

func (d *aufs) provider(id driver.ID, path string) (driver.ID, error) {
	v, l, err := d.view(id)
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
