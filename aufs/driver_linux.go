package aufs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/durable"
	"github.com/layerkeep/layerkeep/internal/layerdir"
	"github.com/layerkeep/layerkeep/internal/rootfd"
	"github.com/layerkeep/layerkeep/internal/whiteout"
	"github.com/layerkeep/layerkeep/mount"
)

// aufs is the driver. It implements [driver.Driver], [driver.Explainer], [driver.Rerecorder],
// [driver.Adopter] and [driver.Replacer].
type aufs struct {
	store  *store
	mounts *mounter
	opts   driver.Options
	xattrs []string
	// userNS: devices cannot be made here.
	userNS bool
	// known: that was found out, now or before.
	known bool
}

// New opens the store of this driver in root, which it creates when missing.
// Returns an error matching [driver.ErrUnsupported] where files cannot be given
// to root: it has tried.
func New(ctx context.Context, root string, opts driver.Options) (driver.Driver, error) {
	d := &aufs{opts: opts}
	if err := d.open(ctx, root); err != nil {
		err = errors.Join(fmt.Errorf("aufs: %w", err), d.Close())
		if d.store != nil {
			d.store.unmake()
		}
		return nil, err
	}
	return d, nil
}

func (d *aufs) read() rootfd.Options {
	return layerdir.ReadOptions(d.opts.Fallbacks)
}

// Name returns [Name].
func (d *aufs) Name() string { return Name }

// Properties returns the facts.
func (d *aufs) Properties() driver.Properties {
	return driver.Properties{
		Explain:         true,
		NativeDiff:      true,
		SharesPages:     true,
		BreaksHardlinks: true,
		Rootless:        true,
		MountsWritable:  d.mounts.writable() && !d.opts.ReadOnly,
		MountTimes:      time.Second,
		KeepsXattrs:     true,
		MaxName:         maxName,
		MaxParents:      maxParents,
		XattrNamespaces: d.xattrs,
	}
}

// Mount returns an aufs mount of the layer's branches where the kernel has aufs.
// Without it, a sealed layer or a view is translated once into something that
// can be mounted read-only.
func (d *aufs) Mount(ctx context.Context, id driver.ID, opts driver.MountOptions) ([]mount.Mount, error) {
	l, err := d.layers(id)
	if err != nil {
		return nil, fmt.Errorf("aufs: mount layer %s: %w", id, err)
	}
	if !l.sealed && d.mounts.writable() {
		if err := d.prepareMount(ctx, l); err != nil {
			return nil, fmt.Errorf("aufs: mount layer %s: %w", id, err)
		}
	}
	m, err := d.mounts.mount(ctx, l, opts)
	if err != nil {
		return nil, fmt.Errorf("aufs: mount layer %s: %w", id, err)
	}
	return m, nil
}

// prepareMount makes the module show a layer that is not sealed as View does. A
// branch that is mounted already is left alone: the module has it.
func (d *aufs) prepareMount(ctx context.Context, l layers) error {
	if err := d.store.records.Changeable(); err != nil {
		return fmt.Errorf("its branch has to be rewritten first, since it is not sealed: %w", err)
	}
	if err := d.store.notBranch(l.id, layerdir.Unmounted); err != nil {
		if errors.Is(err, driver.ErrBusy) {
			return nil
		}
		return err
	}
	return d.normalize(ctx, l)
}

func (d *aufs) open(ctx context.Context, root string) (err error) {
	if d.store, err = openStore(root, d.opts); err != nil {
		return err
	}
	if err := d.probe(); err != nil {
		return err
	}
	if d.mounts, err = newMounter(ctx, d.store.own(mountsDir), d.opts); err != nil {
		return err
	}
	if d.opts.ReadOnly { // what interrupted calls left is not shown
		return nil
	}
	if err := d.store.recover(ctx); err != nil {
		if ctx.Err() != nil {
			return err
		}
		// They do not exist for anybody; the next Cleanup tries again.
		d.warn(ctx, "what is left of interrupted calls cannot be removed yet", err)
	}
	return nil
}

func (d *aufs) warn(ctx context.Context, message string, err error) {
	if d.opts.Logger != nil {
		d.opts.Logger.WarnContext(ctx, message, "error", err)
	}
}

// facts are what probe finds out of the store's directory. What can be mounted is not
// among them: where that cannot be tried, nothing can.
type facts struct {
	Xattrs []string `json:"xattrs"`
	UserNS bool     `json:"userNS"`
}

// Found returns what probe found out, or what was known instead.
func (d *aufs) Found() json.RawMessage {
	return layerdir.Found(d.known, facts{d.xattrs, d.userNS})
}

// probe finds out what can be kept in the store's directory, or takes what was known.
func (d *aufs) probe() error {
	f, known, err := layerdir.Learn(d.opts, d.try)
	d.xattrs, d.userNS, d.known = f.Xattrs, f.UserNS, known
	return err
}

func (d *aufs) try() (f facts, err error) {
	dir, done, err := d.store.records.Staging("probe")
	if err != nil {
		return f, err
	}
	defer done()
	if err := layerdir.CheckOwners(dir); err != nil {
		return f, err
	}
	if f.Xattrs, err = layerdir.XattrNamespaces(dir); err != nil {
		return f, err
	}
	f.UserNS, err = layerdir.UserNS(dir)
	return f, err
}

// normalize rewrites the branch of a layer of ours that is not sealed.
func (d *aufs) normalize(ctx context.Context, l layers) error {
	return normalize(ctx, l.branches, d.read(), d.store.records.Path(l.id, keptTimesName))
}

// Create makes the layer's branch, whose root has the attributes of the nearest
// parent's, since the uppermost branch gives those of the merged one.
func (d *aufs) Create(ctx context.Context, id driver.ID, parents []driver.ID, opts driver.CreateOptions) error {
	if err := d.create(ctx, id, parents, opts); err != nil {
		return fmt.Errorf("aufs: create layer %s: %w", id, err)
	}
	return nil
}

func (d *aufs) create(ctx context.Context, id driver.ID, parents []driver.ID, opts driver.CreateOptions) error {
	if err := errors.Join(ctx.Err(), d.store.records.Changeable()); err != nil {
		return err
	}
	limit := maxParents
	if opts.View {
		limit++ // it has no branch of its own; another engine may have left such a chain
	}
	switch {
	case opts.Size != 0:
		return fmt.Errorf("%w: there are no size limits", driver.ErrUnsupported)
	case opts.IDMap != nil:
		return fmt.Errorf("%w: mounts with mapped IDs", driver.ErrUnsupported)
	case opts.View && len(parents) == 0:
		return fmt.Errorf("%w: a view needs a parent", driver.ErrUnsupported)
	}
	if err := layerdir.CheckDepth(parents, limit); err != nil {
		return err
	}
	if err := d.store.checkParents(parents); err != nil {
		return err
	}
	return d.store.create(id, layerdir.Meta{Parents: parents, View: opts.View, Note: opts.Note}, func(branch string) error {
		return d.fill(branch, parents)
	})
}

// fill makes the bookkeeping that aufs would make at the first mount, which
// would change the root's times then, and gives the root its attributes.
func (d *aufs) fill(branch string, parents []driver.ID) error {
	if err := makeBookkeeping(branch); err != nil {
		return err
	}
	if len(parents) == 0 {
		return layerdir.EmptyRoot(branch)
	}
	v, err := openStack([]string{d.store.branch(parents[0])}, d.read())
	if err != nil {
		return err
	}
	defer v.Close()
	root, err := v.Root()
	if err != nil {
		return err
	}
	defer root.Close()
	return layerdir.CopyRoot(branch, root, whiteout.AUFS)
}

// Seal records the usage, writes the file system to disk and then the mark that
// the layer is sealed, in this order.
func (d *aufs) Seal(ctx context.Context, id driver.ID) error {
	if err := d.seal(ctx, id); err != nil {
		return fmt.Errorf("aufs: seal layer %s: %w", id, err)
	}
	return nil
}

func (d *aufs) seal(ctx context.Context, id driver.ID) error {
	if err := d.store.records.Changeable(); err != nil {
		return err
	}
	m, err := d.store.load(id)
	if err != nil {
		return err
	}
	if m.Sealed {
		ours, err := d.store.ours(id)
		if err != nil || !ours {
			return err
		}
		return d.store.records.SealWith(id, nil, nil)
	}
	branch := d.store.branch(id)
	if err := d.store.notBranch(id, layerdir.MountedReadOnly); err != nil {
		return err
	}
	if err := layerdir.NothingMountedBelow(branch); err != nil {
		return err
	}
	prepare := func(m *layerdir.Meta) error {
		if err := d.normalize(ctx, d.branches(id, *m)); err != nil {
			return err
		}
		return emptyBookkeeping(branch)
	}
	return d.store.records.SealWith(id, prepare, func(m *layerdir.Meta) error {
		usage, err := branchUsage(ctx, branch)
		m.Usage = &usage
		return err
	})
}

// Usage counts the files of the layer's branch, aufs's bookkeeping left out.
func (d *aufs) Usage(ctx context.Context, id driver.ID) (driver.Usage, error) {
	u, err := d.usage(ctx, id)
	if err != nil {
		return u, fmt.Errorf("aufs: usage of layer %s: %w", id, err)
	}
	return u, nil
}

func (d *aufs) usage(ctx context.Context, id driver.ID) (driver.Usage, error) {
	m, err := d.store.load(id)
	switch {
	case err != nil, m.View:
		return driver.Usage{}, err
	case m.Usage != nil:
		return *m.Usage, nil
	}
	return branchUsage(ctx, d.store.branch(id))
}

// Remove takes the layer out of the classic directories and deletes it in the
// background.
func (d *aufs) Remove(ctx context.Context, id driver.ID) error {
	err := errors.Join(d.store.records.Changeable(), id.Validate())
	if err == nil {
		err = d.store.idle(id) // before what is mounted of it goes
	}
	if err == nil {
		err = d.mounts.drop(ctx, id)
	}
	if err == nil {
		err = d.store.remove(id)
	}
	if err != nil {
		return fmt.Errorf("aufs: remove layer %s: %w", id, err)
	}
	return nil
}

// Layers lists the layers that this driver made.
func (d *aufs) Layers(context.Context) ([]driver.ID, error) { return d.store.list() }

// Foreign lists the layers that another engine left.
func (d *aufs) Foreign(ctx context.Context) ([]driver.Foreign, error) {
	list, err := d.store.foreign(ctx)
	if err != nil {
		return nil, fmt.Errorf("aufs: layers of another engine: %w", err)
	}
	return list, nil
}

// Cleanup deletes what Remove put aside and interrupted calls left behind.
func (d *aufs) Cleanup(ctx context.Context) error {
	if err := d.store.records.Changeable(); err != nil {
		return fmt.Errorf("aufs: clean up: %w", err)
	}
	err := errors.Join(
		d.store.recover(ctx),
		durable.RemoveStale(filepath.Join(d.store.root, layersDir)),
		d.store.records.Cleanup(ctx),
		d.mounts.cleanup(ctx, func() ([]layers, error) { return d.all(ctx) }))
	if err != nil {
		return fmt.Errorf("aufs: clean up: %w", err)
	}
	return nil
}

// Trim deletes translations that no mount and no view needs.
func (d *aufs) Trim(ctx context.Context) error {
	if err := d.store.records.Changeable(); err != nil {
		return fmt.Errorf("aufs: trim: %w", err)
	}
	if err := d.mounts.trim(ctx, func() ([]layers, error) { return d.all(ctx) }); err != nil {
		return fmt.Errorf("aufs: trim: %w", err)
	}
	return nil
}

// Close waits for deletions in the background.
func (d *aufs) Close() error {
	var errs []error
	if d.mounts != nil {
		errs = append(errs, d.mounts.close())
	}
	if d.store != nil {
		errs = append(errs, d.store.close())
	}
	return errors.Join(errs...)
}
