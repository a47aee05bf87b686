package aufs

import (
	"context"
	"os"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/layerdir"
	"github.com/layerkeep/layerkeep/internal/layerlife"
	"github.com/layerkeep/layerkeep/internal/whiteout"
	"github.com/layerkeep/layerkeep/tar"
)

// Target returns the layer's branch as the target.
func (d *backend) Target(_ context.Context, of layerlife.Layer, opts driver.ApplyOptions) (*layerlife.Target, error) {
	staging, done, err := d.store.records.OpenStaging(of.ID)
	if err != nil {
		return nil, err
	}
	l := d.branches(of.ID, of.Meta)
	view, err := openStack(l.branches, d.read())
	if err == nil {
		view.unsealed = true
		kept := keptTimes{path: d.store.records.Path(of.ID, keptTimesName)}
		if err = kept.restore(view.branches[0].root); err != nil {
			view.Close()
		}
	}
	if err != nil {
		done()
		return nil, err
	}
	unpack := layerdir.UnpackOptions(d.opts, opts, of.ID, whiteout.AUFS, d.userNS)
	unpack.MaxName = maxName
	unpack.Parents = view
	return &layerlife.Target{
		Staging: staging, Options: unpack,
		// Whiteouts in opaque directories are added when the layer is mounted or
		// sealed, see [normalizer].
		Merge: func(ctx context.Context, delta *tar.Delta) error { return d.merge(ctx, l, delta) },
		Close: func() { view.Close(); done() },
	}, nil
}

// merge moves a delta into the layer's own branch, over its parents.
func (d *backend) merge(ctx context.Context, l layers, delta *tar.Delta) error {
	root, err := os.Open(l.branches[0])
	if err != nil {
		return err
	}
	defer root.Close()
	target := tar.Target{Root: root, Encoding: whiteout.AUFS, NoFchmodat2: d.opts.Fallbacks.NoFchmodat2}
	if len(l.branches) > 1 {
		below, err := openStack(l.branches[1:], d.read())
		if err != nil {
			return err
		}
		defer below.Close()
		target.Below = below
	}
	return delta.Merge(ctx, target)
}
