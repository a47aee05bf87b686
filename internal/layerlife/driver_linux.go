package layerlife

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/layerdir"
	"github.com/layerkeep/layerkeep/mount"
	"github.com/layerkeep/layerkeep/tar"
)

// A Driver implements [driver.Driver] and [driver.WriterFinder] over a backend.
type Driver struct {
	store   Store
	backend Backend
}

// New returns the driver of a backend whose layers are in the store.
func New(store Store, b Backend) *Driver { return &Driver{store, b} }

// Failed adds the backend, the action and the layer to err. It returns nil for
// nil.
func (d *Driver) Failed(doing string, id driver.ID, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %s layer %s: %w", d.backend.Name(), doing, id, err)
}

// Name returns the backend's name.
func (d *Driver) Name() string { return d.backend.Name() }

// Properties returns the backend's properties.
func (d *Driver) Properties() driver.Properties { return d.backend.Properties() }

// Create implements [driver.Driver].
func (d *Driver) Create(ctx context.Context, id driver.ID, parents []driver.ID, opts driver.CreateOptions) error {
	return d.Failed("create", id, d.create(ctx, id, parents, opts))
}

func (d *Driver) create(ctx context.Context, id driver.ID, parents []driver.ID, opts driver.CreateOptions) error {
	if err := errors.Join(ctx.Err(), d.store.Changeable()); err != nil {
		return err
	}
	can := d.backend.Properties()
	most := can.MaxParents
	if opts.View {
		most++ // a view has no directory of its own in the stack
	}
	if can.MaxParents > 0 {
		if err := layerdir.CheckDepth(parents, most); err != nil {
			return err
		}
	}
	inherited, err := d.store.CheckParents(parents)
	if err != nil {
		return err
	}
	switch {
	case opts.View && len(parents) == 0:
		return fmt.Errorf("%w: a view needs a parent", driver.ErrUnsupported)
	case opts.Size < 0:
		return fmt.Errorf("%w: a limit of %d bytes", driver.ErrUnsupported, opts.Size)
	case opts.Size != 0 && !can.Quota:
		return fmt.Errorf("%w: a size limit", driver.ErrUnsupported)
	}
	if err := layerdir.CheckIDMap(opts.IDMap, can.Idmap); err != nil {
		return err
	}
	l := Layer{ID: id, Meta: layerdir.Meta{Parents: parents, View: opts.View, IDMap: opts.IDMap, Note: opts.Note}}
	if !opts.View { // a view takes no space
		l.Size = opts.Size
	}
	l.Inherit(inherited)
	return d.store.CreateWith(id, &l.Meta, func(dir string) error { return d.backend.Make(ctx, dir, &l) })
}

// Mount implements [driver.Driver].
func (d *Driver) Mount(ctx context.Context, id driver.ID, opts driver.MountOptions) (mounts []mount.Mount, err error) {
	l, err := d.load(id)
	if err == nil {
		mounts, err = d.backend.Mounts(ctx, l, opts)
	}
	return mounts, d.Failed("mount", id, err)
}

// load reads the record of a layer.
func (d *Driver) load(id driver.ID) (Layer, error) {
	m, err := d.store.Load(id)
	return Layer{id, m}, err
}

// ApplyDiff implements [driver.Driver]. It unpacks the layer tar beside the
// layer. After the whole tar was read and checked, it moves the result into the
// layer.
func (d *Driver) ApplyDiff(ctx context.Context, id driver.ID, layer io.Reader, opts driver.ApplyOptions) (driver.Applied, error) {
	applied, err := d.apply(ctx, id, layer, opts)
	if err != nil {
		return driver.Applied{}, d.Failed("apply to", id, layerdir.TarError(err))
	}
	return applied, nil
}

func (d *Driver) apply(ctx context.Context, id driver.ID, layer io.Reader, opts driver.ApplyOptions) (driver.Applied, error) {
	if opts.Detached && !d.backend.Properties().Rebase {
		return driver.Applied{}, fmt.Errorf("%w: its layers are unpacked over their parents", driver.ErrUnsupported)
	}
	m, err := d.store.Writable(id)
	if err == nil {
		err = d.store.NotMounted(id, layerdir.Unmounted)
	}
	if err == nil && !opts.Fresh {
		err = d.backend.CheckWriters(ctx, id)
	}
	if err != nil {
		return driver.Applied{}, err
	}
	to, err := d.backend.Target(ctx, Layer{id, m}, opts)
	if err != nil {
		return driver.Applied{}, err
	}
	defer to.Close()
	delta, applied, err := tar.Unpack(ctx, to.Staging, layer, to.Options)
	if err == nil && to.Unpacked != nil {
		err = to.Unpacked(delta)
	}
	switch {
	case err != nil:
	case to.Keep != nil:
		err = to.Keep(delta)
	default:
		err = d.store.Merging(id, opts.Sync, func() error { return to.Merge(ctx, delta) })
	}
	if err != nil {
		return driver.Applied{}, err
	}
	return driver.Applied(applied), nil
}

// View implements [driver.Driver].
func (d *Driver) View(ctx context.Context, id driver.ID) (diff.View, error) {
	l, err := d.load(id)
	if err != nil {
		return nil, d.Failed("view", id, err)
	}
	v, err := d.backend.View(ctx, l)
	if err != nil {
		return nil, d.Failed("view", id, err)
	}
	return v, nil
}

// Sides implements [driver.Driver].
func (d *Driver) Sides(ctx context.Context, id driver.ID) (parents, layer diff.View, err error) {
	l, err := d.load(id)
	if err == nil && !l.View {
		parents, layer, err = d.backend.Sides(ctx, l)
	}
	if err != nil {
		return nil, nil, d.Failed("compare", id, err)
	}
	return parents, layer, nil
}

// Seal implements [driver.Driver].
func (d *Driver) Seal(ctx context.Context, id driver.ID) error {
	on := func(hook func(context.Context, *Layer) error) func(*layerdir.Meta) error {
		return func(m *layerdir.Meta) error {
			l := Layer{id, *m}
			err := hook(ctx, &l)
			*m = l.Meta
			return err
		}
	}
	return d.Failed("seal", id, d.store.SealWith(id, on(d.backend.Prepare), on(d.backend.Settle)))
}

// NoWriters implements [driver.WriterFinder].
func (d *Driver) NoWriters(ctx context.Context, id driver.ID) error {
	return d.Failed("look for who writes to", id, d.backend.CheckWriters(ctx, id))
}

// SeesUnmounted implements [driver.WriterFinder].
func (d *Driver) SeesUnmounted() bool { return false }

// Remove implements [driver.Driver]. It renames the layer to a trash name and
// deletes it in the background.
func (d *Driver) Remove(_ context.Context, id driver.ID) error {
	return d.Failed("remove", id, d.store.RemoveIdle(id))
}

// Usage implements [driver.Driver].
func (d *Driver) Usage(ctx context.Context, id driver.ID) (u driver.Usage, err error) {
	l, err := d.load(id)
	if err == nil {
		u, err = l.UsageOr(func() (driver.Usage, error) { return d.backend.Usage(ctx, l) })
	}
	return u, d.Failed("usage of", id, err)
}

// Layers implements [driver.Driver].
func (d *Driver) Layers(context.Context) ([]driver.ID, error) { return d.store.List() }

// Cleanup implements [driver.Driver].
func (d *Driver) Cleanup(ctx context.Context) error { return d.store.Cleanup(ctx) }

// Close implements [driver.Driver]. It waits for background deletions.
func (d *Driver) Close() error { return d.store.Close() }
