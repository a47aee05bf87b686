package overlay2

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/layerlife"
)

// View opens the merged tree of the layer.
func (d *backend) View(_ context.Context, l layerlife.Layer) (diff.View, error) {
	v, err := d.open(l)
	if err != nil {
		return nil, err
	}
	return v, nil
}

func (d *backend) open(l layerlife.Layer) (*stack, error) {
	if l.Detached {
		return nil, errDetached
	}
	shift, err := d.shiftOf(l.ID, l.Meta)
	if err != nil {
		return nil, err
	}
	v, err := d.openLayers(l.ID, l.Meta)
	if err != nil {
		return nil, err
	}
	v.hints, v.shift = !l.View, shift
	return v, nil
}

// Sides opens the merged trees of the parents and of the layer. A comparison
// reads the layer's own directory, and of the parents only entries with the
// same names.
func (d *backend) Sides(_ context.Context, l layerlife.Layer) (parents, layer diff.View, err error) {
	v, err := d.open(l)
	if err != nil {
		return nil, nil, err
	}
	return v.below(), v, nil
}

// Provider returns the layer that a path comes from.
func (d *backend) Provider(_ context.Context, id driver.ID, path string) (driver.ID, error) {
	from, err := d.provider(id, path)
	if err != nil {
		return "", fmt.Errorf("overlay2: provider of %s in layer %s: %w", path, id, err)
	}
	return from, nil
}

func (d *backend) provider(id driver.ID, path string) (_ driver.ID, err error) {
	m, err := d.store.Load(id)
	if err != nil {
		return "", err
	}
	v, err := d.open(layerlife.Layer{ID: id, Meta: m})
	if err != nil {
		return "", err
	}
	defer v.Close()
	ids := m.Parents
	if !m.View {
		ids = append([]driver.ID{id}, ids...)
	}
	layer, err := v.provider(path)
	if err != nil {
		return "", err
	}
	return ids[layer], nil
}

// provider returns the index of the uppermost layer that has the path.
func (v *stack) provider(path string) (int, error) {
	if path == "." {
		return 0, nil
	}
	root, err := v.Root()
	if err != nil {
		return 0, err
	}
	at := root.(*dir)
	defer func() { at.Close() }()
	for {
		name, rest, more := strings.Cut(path, "/")
		f, err := at.lookup(name, !more)
		if err != nil {
			return 0, err
		}
		if !more {
			return f.top.layer, nil
		}
		if !f.top.st.IsDir() {
			return 0, &fs.PathError{Op: "lookup", Path: path, Err: fs.ErrNotExist}
		}
		next, err := at.OpenDir(name)
		if err != nil {
			return 0, err
		}
		err = at.Close()
		at, path = next.(*dir), rest
		if err != nil {
			return 0, errors.Join(err)
		}
	}
}
