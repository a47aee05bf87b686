package aufs

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/layerdir"
	"github.com/layerkeep/layerkeep/internal/whiteout"
	"github.com/layerkeep/layerkeep/tar"
)

// ApplyDiff unpacks the stream beside the branch and, once all of it is there and
// right, moves it in.
func (d *aufs) ApplyDiff(ctx context.Context, id driver.ID, layer io.Reader, opts driver.ApplyOptions) (driver.Applied, error) {
	applied, err := d.apply(ctx, id, layer, opts)
	if err != nil {
		return driver.Applied{}, fmt.Errorf("aufs: apply to layer %s: %w", id, layerdir.TarError(err))
	}
	return applied, nil
}

func (d *aufs) apply(ctx context.Context, id driver.ID, layer io.Reader, opts driver.ApplyOptions) (driver.Applied, error) {
	if err := d.store.records.Changeable(); err != nil {
		return driver.Applied{}, err
	}
	if _, err := d.store.writable(id); err != nil {
		return driver.Applied{}, err
	}
	if opts.Detached {
		return driver.Applied{}, fmt.Errorf("%w: layers are unpacked over their parents", driver.ErrUnsupported)
	}
	if err := d.store.notBranch(id, layerdir.Unmounted); err != nil {
		return driver.Applied{}, err
	}
	m, staging, done, err := d.store.records.Unpacking(id)
	if err != nil {
		return driver.Applied{}, err
	}
	defer done()
	if !opts.Fresh {
		if err := d.awaitNoWriters(ctx, id); err != nil {
			return driver.Applied{}, err
		}
	}
	l := d.branches(id, m)
	view, err := openStack(l.branches, d.read())
	if err != nil {
		return driver.Applied{}, err
	}
	defer view.Close()
	view.unsealed = true
	kept := keptTimes{path: d.store.records.Path(id, keptTimesName)}
	if err := kept.restore(view.branches[0].root); err != nil {
		return driver.Applied{}, err
	}
	unpack := layerdir.UnpackOptions(d.opts, opts, id, whiteout.AUFS, d.userNS)
	unpack.MaxName = maxName
	unpack.Parents = view
	delta, applied, err := tar.Unpack(ctx, staging, layer, unpack)
	if err != nil {
		return driver.Applied{}, err
	}
	// Explicit whiteouts in opaque directories come when the layer is mounted or
	// sealed, see [normalizer].
	err = d.store.records.Merging(id, opts.Sync, func() error { return d.merge(ctx, l, delta) })
	if err != nil {
		return driver.Applied{}, err
	}
	return driver.Applied(applied), nil
}

// merge moves a delta into the layer's own branch, over its parents.
func (d *aufs) merge(ctx context.Context, l layers, delta *tar.Delta) error {
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
