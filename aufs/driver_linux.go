package aufs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/layerdir"
	"github.com/layerkeep/layerkeep/internal/layerlife"
	"github.com/layerkeep/layerkeep/internal/rootfd"
	"github.com/layerkeep/layerkeep/internal/whiteout"
	"github.com/layerkeep/layerkeep/mount"
)

// aufs is the driver: the common life cycle of layers with the backend's hooks,
// and the methods that only aufs has. It implements [driver.Explainer],
// [driver.Recorder], [driver.Rerecorder], [driver.Adopter] and
// [driver.Replacer].
type aufs struct {
	*layerlife.Driver
	abilities
}

// abilities are the backend's methods that the driver has, too. The type puts
// them one level deeper in aufs, so that a hook does not hide the method of
// layerlife.Driver with the same name.
type abilities struct{ *backend }

// backend implements the hooks of [layerlife.Backend].
type backend struct {
	store  *store
	mounts *mounter
	opts   driver.Options
	xattrs []string
	// userNS: device nodes cannot be made here.
	userNS bool
	// known: xattrs and userNS were probed or remembered.
	known bool
}

// New opens the driver's store in root, and creates it if it is missing. New
// probes whether files can be given to root. If they cannot, it returns an
// error matching [driver.ErrUnsupported].
func New(ctx context.Context, root string, opts driver.Options) (driver.Driver, error) {
	d := &backend{opts: opts}
	if err := d.open(ctx, root); err != nil {
		err = errors.Join(fmt.Errorf("aufs: %w", err), d.closeMounts())
		if d.store != nil {
			err = errors.Join(err, d.store.Close())
			d.store.unmake()
		}
		return nil, err
	}
	return &aufs{layerlife.New(d.store, d), abilities{d}}, nil
}

func (d *backend) read() rootfd.Options {
	return layerdir.ReadOptions(d.opts.Fallbacks)
}

// Name returns [Name].
func (d *backend) Name() string { return Name }

// Properties returns the driver's properties.
func (d *backend) Properties() driver.Properties {
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

// Mounts returns an aufs mount of the layer's branches if the kernel has aufs.
// Without aufs, it translates a sealed layer or a view once, and returns a
// read-only mount of the translation.
func (d *backend) Mounts(ctx context.Context, of layerlife.Layer, opts driver.MountOptions) ([]mount.Mount, error) {
	l := d.branches(of.ID, of.Meta)
	if !l.sealed && d.mounts.writable() {
		if err := d.prepareMount(ctx, l); err != nil {
			return nil, err
		}
	}
	return d.mounts.mount(ctx, l, opts)
}

// prepareMount rewrites the branch of a layer that is not sealed, so that the
// module shows the same as View. It does not change a branch that is already
// mounted, because the module uses it.
func (d *backend) prepareMount(ctx context.Context, l layers) error {
	if err := d.store.Changeable(); err != nil {
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

func (d *backend) open(ctx context.Context, root string) (err error) {
	if d.store, err = openStore(root, d.opts); err != nil {
		return err
	}
	if err := d.probe(); err != nil {
		return err
	}
	if d.mounts, err = newMounter(ctx, d.store.own(mountsDir), d.opts); err != nil {
		return err
	}
	if d.opts.ReadOnly { // what interrupted calls left is not shown anyway
		return nil
	}
	if err := d.store.recover(ctx); err != nil {
		if ctx.Err() != nil {
			return err
		}
		// No method shows these layers. The next Cleanup tries again.
		d.warn(ctx, "what is left of interrupted calls cannot be removed yet", err)
	}
	return nil
}

func (d *backend) warn(ctx context.Context, message string, err error) {
	if d.opts.Logger != nil {
		d.opts.Logger.WarnContext(ctx, message, "error", err)
	}
}

// facts are what probe finds out about the store's directory. They do not
// include what can be mounted: if that cannot be probed, nothing can be
// mounted.
type facts struct {
	Xattrs []string `json:"xattrs"`
	UserNS bool     `json:"userNS"`
}

// Found returns the facts that probe found out or remembered.
func (d *backend) Found() json.RawMessage {
	return layerdir.Found(d.known, facts{d.xattrs, d.userNS})
}

// probe finds out what the file system of the store can store, or uses
// remembered facts.
func (d *backend) probe() error {
	f, known, err := layerdir.Learn(d.opts, d.try)
	d.xattrs, d.userNS, d.known = f.Xattrs, f.UserNS, known
	return err
}

func (d *backend) try() (f facts, err error) {
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

// normalize rewrites the branch of a layer of this driver that is not sealed.
func (d *backend) normalize(ctx context.Context, l layers) error {
	return normalize(ctx, l.branches, d.read(), d.store.records.Path(l.id, keptTimesName))
}

// Make makes aufs's bookkeeping files in a new branch. Otherwise the first
// mount would make them and change the root's times. The root gets the
// attributes of the nearest parent's root, because the merged root shows the
// attributes of the uppermost branch. Make is not called for a view, which has
// no branch.
func (d *backend) Make(_ context.Context, branch string, l *layerlife.Layer) error {
	if err := makeBookkeeping(branch); err != nil {
		return err
	}
	if len(l.Parents) == 0 {
		return layerdir.EmptyRoot(branch)
	}
	v, err := openStack([]string{d.store.branch(l.Parents[0])}, d.read())
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

// Prepare rewrites the branch so that the module and other engines show the
// intended content. It removes what a mount left in the bookkeeping
// directories.
func (d *backend) Prepare(ctx context.Context, l *layerlife.Layer) error {
	if err := d.normalize(ctx, d.branches(l.ID, l.Meta)); err != nil {
		return err
	}
	return emptyBookkeeping(d.store.branch(l.ID))
}

// Settle sets the layer's usage.
func (d *backend) Settle(ctx context.Context, l *layerlife.Layer) error {
	usage, err := d.Usage(ctx, *l)
	l.Meta.Usage = &usage
	return err
}

// Usage counts the files of the layer's branch, without aufs's bookkeeping.
func (d *backend) Usage(ctx context.Context, l layerlife.Layer) (driver.Usage, error) {
	return branchUsage(ctx, d.store.branch(l.ID))
}

// Remove removes the layer from the classic directories and deletes it in the
// background. It first removes the layer's translations.
func (d *aufs) Remove(ctx context.Context, id driver.ID) error {
	err := errors.Join(d.store.Changeable(), id.Validate())
	if err == nil {
		err = d.store.idle(id)
	}
	if err == nil {
		err = d.mounts.drop(ctx, id)
	}
	if err != nil {
		return d.Failed("remove", id, err)
	}
	return d.Driver.Remove(ctx, id)
}

// Foreign lists the layers that another engine left.
func (d *backend) Foreign(ctx context.Context) ([]driver.Foreign, error) {
	list, err := d.store.foreign(ctx)
	if err != nil {
		return nil, fmt.Errorf("aufs: layers of another engine: %w", err)
	}
	return list, nil
}

// Cleanup deletes removed layers and what interrupted calls left behind.
func (d *aufs) Cleanup(ctx context.Context) error {
	err := d.store.Changeable()
	if err == nil {
		err = errors.Join(d.Driver.Cleanup(ctx), d.mounts.cleanup(ctx, func() ([]layers, error) { return d.all(ctx) }))
	}
	if err != nil {
		return fmt.Errorf("aufs: clean up: %w", err)
	}
	return nil
}

// Trim deletes translations that no mount and no view needs.
func (d *backend) Trim(ctx context.Context) error {
	if err := d.store.records.Changeable(); err != nil {
		return fmt.Errorf("aufs: trim: %w", err)
	}
	if err := d.mounts.trim(ctx, func() ([]layers, error) { return d.all(ctx) }); err != nil {
		return fmt.Errorf("aufs: trim: %w", err)
	}
	return nil
}

// Close waits for background deletions.
func (d *aufs) Close() error { return errors.Join(d.closeMounts(), d.Driver.Close()) }

func (d *backend) closeMounts() error {
	if d.mounts == nil { // opening failed
		return nil
	}
	return d.mounts.close()
}
