package aufs

import (
	"context"
	"fmt"
	"io"
	"iter"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/layerdir"
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

// Diff reads the layer's own branch and, of its parents, only what has the same
// names.
func (d *aufs) Diff(ctx context.Context, id driver.ID, w io.Writer, opts driver.DiffOptions) (diff.Stats, error) {
	stats, err := layerdir.WriteDiff(ctx, id, d.opts.Logger, w, opts, func(warn func(path, message string)) iter.Seq2[diff.Change, error] {
		return d.changes(ctx, id, warn)
	})
	if err != nil {
		return stats, fmt.Errorf("aufs: diff layer %s: %w", id, err)
	}
	return stats, nil
}

// Changes is Diff as a sequence.
func (d *aufs) Changes(ctx context.Context, id driver.ID) iter.Seq2[diff.Change, error] {
	return d.changes(ctx, id, nil)
}

func (d *aufs) changes(ctx context.Context, id driver.ID, warn func(path, message string)) iter.Seq2[diff.Change, error] {
	return func(yield func(diff.Change, error) bool) {
		v, l, err := d.view(id)
		if err != nil {
			yield(diff.Change{}, fmt.Errorf("aufs: changes of layer %s: %w", id, err))
			return
		}
		defer v.Close()
		if !l.own { // a view changes nothing
			return
		}
		for c, err := range diff.Compare(ctx, v.below(), v, diff.Options{Warn: warn}) {
			if !yield(c, err) {
				return
			}
		}
	}
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
