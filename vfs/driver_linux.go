package vfs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/copytree"
	"github.com/layerkeep/layerkeep/internal/durable"
	"github.com/layerkeep/layerkeep/internal/layerdir"
	"github.com/layerkeep/layerkeep/internal/rootfd"
	"github.com/layerkeep/layerkeep/internal/whiteout"
	"github.com/layerkeep/layerkeep/mount"
	"github.com/layerkeep/layerkeep/tar"
)

// Names in a layer's directory.
const (
	treeDir      = "tree"
	manifestFile = "manifest" // what the tree looked like when it was copied
)

// vfs is the driver. It implements [driver.Driver].
type vfs struct {
	layerdir.Recorder
	layerdir.Rerecorder
	layerdir.Replacer

	store   *layerdir.Store
	opts    driver.Options
	xattrs  []string
	reflink bool
	idmap   bool
	userNS  bool
	// known: that was found out, now or before.
	known bool
}

// New opens the store of this driver in root, which it creates when missing.
// Returns an error matching [driver.ErrUnsupported] where files cannot be given
// to root: it has tried.
func New(ctx context.Context, root string, opts driver.Options) (driver.Driver, error) {
	store, err := layerdir.OpenFor(root, opts)
	if err != nil {
		return nil, fmt.Errorf("vfs: %w", err)
	}
	store.StackAtMost(layerdir.MaxParents)
	d := &vfs{Recorder: store.Recorder(Name), Replacer: store.Replacer(Name), store: store, opts: opts}
	d.Rerecorder = store.Rerecorder(Name, treeDir, d.rehint)
	if err := d.probe(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("vfs: %w", err), store.Close())
	}
	return d, nil
}

// facts are what opening finds out.
type facts struct {
	Xattrs  []string `json:"xattrs"`
	Reflink bool     `json:"reflink"`
	IDMap   bool     `json:"idmap"`
	UserNS  bool     `json:"userNS"`
}

// probe finds out what works here, or takes what was known. Without either the slow
// ways are taken, which need nothing.
func (d *vfs) probe(ctx context.Context) error {
	f, known, err := layerdir.Learn(d.opts, func() (facts, error) { return d.try(ctx) })
	d.xattrs, d.reflink, d.idmap, d.userNS, d.known = f.Xattrs, f.Reflink, f.IDMap, f.UserNS, known
	return err
}

func (d *vfs) try(ctx context.Context) (f facts, err error) {
	dir, done, err := d.store.Staging("probe")
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
	if f.UserNS, err = layerdir.UserNS(dir); err != nil {
		return f, err
	}
	if !d.opts.Fallbacks.NoReflink {
		if f.Reflink, err = copytree.CanReflink(dir); err != nil {
			return f, err
		}
	}
	f.IDMap, err = d.store.CanMap(ctx, mount.Mounter{First: d.opts.Fallbacks.MountWay}, false)
	return f, err
}

// Found returns what probe found out, or what was known instead.
func (d *vfs) Found() json.RawMessage {
	return layerdir.Found(d.known, facts{d.xattrs, d.reflink, d.idmap, d.userNS})
}

// Name returns [Name].
func (d *vfs) Name() string { return Name }

// Properties returns the facts.
func (d *vfs) Properties() driver.Properties {
	return driver.Properties{
		Reflink: d.reflink, RenameDir: true, Idmap: d.idmap, Rootless: true, MountsWritable: !d.opts.ReadOnly, XattrNamespaces: d.xattrs,
		MaxParents: layerdir.MaxParents,
	}
}

// Create copies the nearest parent's tree.
func (d *vfs) Create(ctx context.Context, id driver.ID, parents []driver.ID, opts driver.CreateOptions) error {
	if err := d.create(ctx, id, parents, opts); err != nil {
		return fmt.Errorf("vfs: create layer %s: %w", id, err)
	}
	return nil
}

func (d *vfs) create(ctx context.Context, id driver.ID, parents []driver.ID, opts driver.CreateOptions) error {
	if err := errors.Join(ctx.Err(), d.store.Changeable()); err != nil {
		return err
	}
	if _, err := d.store.CheckParents(parents); err != nil {
		return err
	}
	if opts.View && len(parents) == 0 {
		return fmt.Errorf("%w: a view needs a parent", driver.ErrUnsupported)
	}
	if opts.Size != 0 {
		return fmt.Errorf("%w: a size limit", driver.ErrUnsupported)
	}
	if err := layerdir.CheckIDMap(opts.IDMap, d.idmap); err != nil {
		return err
	}
	return d.store.Create(id, layerdir.Meta{Parents: parents, View: opts.View, IDMap: opts.IDMap, Note: opts.Note}, func(dir string) error {
		if opts.View {
			return nil
		}
		tree := dir + "/" + treeDir
		if err := os.Mkdir(tree, 0o755); err != nil {
			return err
		}
		if len(parents) == 0 {
			return layerdir.EmptyRoot(tree)
		}
		return d.copyParent(ctx, parents[0], dir)
	})
}

// copyParent fills dir/tree, and the manifest once nothing in it changes any more.
func (d *vfs) copyParent(ctx context.Context, parent driver.ID, dir string) error {
	src, err := rootfd.Open(d.store.Path(parent, treeDir), rootfd.Options{})
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := rootfd.Open(dir+"/"+treeDir, rootfd.Options{})
	if err != nil {
		return err
	}
	defer dst.Close()
	var made recording
	err = copytree.Copy(ctx, src, dst, copytree.Options{
		Reflink: d.reflink, CopyRange: !d.opts.Fallbacks.NoCopyRange, NoFchmodat2: d.opts.Fallbacks.NoFchmodat2,
		Made: made.add,
	})
	if err != nil {
		return err
	}
	stamp, err := laterThanNow(ctx, dir)
	if err != nil {
		return err
	}
	return made.save(dir+"/"+manifestFile, stamp)
}

// tree returns the path of the tree that the layer's view is.
func (d *vfs) tree(id driver.ID, m layerdir.Meta) string {
	if m.View {
		return d.store.Path(m.Parents[0], treeDir)
	}
	return d.store.Path(id, treeDir)
}

// Mount binds the layer's tree, or that of the parent for a view.
func (d *vfs) Mount(_ context.Context, id driver.ID, opts driver.MountOptions) ([]mount.Mount, error) {
	m, err := d.load(id)
	if err != nil {
		return nil, fmt.Errorf("vfs: mount layer %s: %w", id, err)
	}
	return []mount.Mount{{
		Type: "bind", Source: d.tree(id, m), ReadOnly: opts.ReadOnly || d.opts.ReadOnly || m.View || m.Sealed, IDMap: m.IDMap,
	}}, nil
}

// ApplyDiff unpacks the stream beside the tree and, once all of it is there and
// right, moves it in.
func (d *vfs) ApplyDiff(ctx context.Context, id driver.ID, layer io.Reader, opts driver.ApplyOptions) (driver.Applied, error) {
	applied, err := d.apply(ctx, id, layer, opts)
	if err != nil {
		return driver.Applied{}, fmt.Errorf("vfs: apply to layer %s: %w", id, layerdir.TarError(err))
	}
	return applied, nil
}

func (d *vfs) apply(ctx context.Context, id driver.ID, layer io.Reader, opts driver.ApplyOptions) (driver.Applied, error) {
	if opts.Detached {
		return driver.Applied{}, fmt.Errorf("%w: a copy needs its parent", driver.ErrUnsupported)
	}
	_, staging, done, err := d.store.Unpacking(id)
	if err != nil {
		return driver.Applied{}, err
	}
	defer done()
	if !opts.Fresh {
		if err := d.store.NotWritableElsewhere(ctx, id); err != nil {
			return driver.Applied{}, err
		}
	}
	tree, err := os.Open(d.store.Path(id, treeDir))
	if err != nil {
		return driver.Applied{}, err
	}
	defer tree.Close()
	unpack := layerdir.UnpackOptions(d.opts, opts, id, whiteout.Plain, d.userNS)
	unpack.Parents = diff.DirView(tree)
	delta, applied, err := tar.Unpack(ctx, staging, layer, unpack)
	if err != nil {
		return driver.Applied{}, err
	}
	err = d.store.Merging(id, opts.Sync, func() error {
		return delta.Merge(ctx, tar.Target{Root: tree, NoFchmodat2: d.opts.Fallbacks.NoFchmodat2})
	})
	if err != nil {
		return driver.Applied{}, err
	}
	return driver.Applied(applied), nil
}

// View opens the layer's tree.
func (d *vfs) View(_ context.Context, id driver.ID) (diff.View, error) {
	m, err := d.load(id)
	if err != nil {
		return nil, fmt.Errorf("vfs: view layer %s: %w", id, err)
	}
	v, err := openTree(d.tree(id, m), d.read())
	if err != nil {
		return nil, fmt.Errorf("vfs: view layer %s: %w", id, err)
	}
	return v, nil
}

func (d *vfs) read() rootfd.Options {
	return layerdir.ReadOptions(d.opts.Fallbacks)
}

// Sides opens the trees of the parent and of the layer. A comparison looks at every inode of
// the tree, and reads only those that changed since they were copied; on a tmpfs, all regular
// files.
func (d *vfs) Sides(_ context.Context, id driver.ID) (parents, layer diff.View, err error) {
	if parents, layer, err = d.sides(id); err != nil {
		return nil, nil, fmt.Errorf("vfs: open layer %s to compare it: %w", id, err)
	}
	return parents, layer, nil
}

// sides opens what Compare needs: nothing for a view, no old side for a layer
// without parents.
func (d *vfs) sides(id driver.ID) (old, updated diff.View, err error) {
	m, err := d.load(id)
	if err != nil || m.View {
		return nil, nil, err
	}
	t, err := openTree(d.tree(id, m), d.read())
	if err != nil {
		return nil, nil, err
	}
	if len(m.Parents) == 0 {
		return nil, t, nil
	}
	parent, err := openTree(d.store.Path(m.Parents[0], treeDir), d.read())
	if err != nil {
		return nil, nil, errors.Join(err, t.Close())
	}
	t.old = parent.root
	if t.manifest, err = d.manifest(id); err != nil {
		return nil, nil, errors.Join(err, t.Close(), parent.Close())
	}
	return parent, t, nil
}

// manifest returns nil when ctimes cannot be trusted.
func (d *vfs) manifest(id driver.ID) (*manifest, error) {
	if d.store.Lent(id) { // its times are those of another file system, or made up
		return nil, nil
	}
	m, err := loadManifest(d.store.Path(id, manifestFile))
	if err != nil {
		d.warn("comparing everything", id, err)
		return nil, nil
	}
	now, err := d.now(id)
	if errors.Is(err, errNoClock) {
		return nil, nil
	}
	if durable.NoRoom(err) {
		d.warn("comparing everything, since the time of a full disk is not known", id, err)
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if now.Before(m.stamp) { // the clock was set back
		return nil, nil
	}
	if m.bodies, err = noticesMapped(d.store.Root()); err != nil {
		return nil, err
	}
	m.swaps, err = noticesExchange(d.store.Root())
	return m, err
}

// errNoClock: what time it is on the store's file system cannot be found out without
// writing to it.
var errNoClock = errors.New("the file system's time is not known")

// now is the file system's own time.
func (d *vfs) now(id driver.ID) (time.Time, error) {
	if d.opts.ReadOnly {
		return localTime(d.store.Root())
	}
	dir, done, err := d.store.Staging(id)
	if err != nil {
		return time.Time{}, err
	}
	defer done()
	return touch(dir)
}

func (d *vfs) warn(message string, id driver.ID, err error) {
	if d.opts.Logger != nil {
		d.opts.Logger.Warn(message, "layer", id, "error", err)
	}
}

// Seal makes the layer immutable and durable.
func (d *vfs) Seal(ctx context.Context, id driver.ID) error {
	err := d.store.Seal(ctx, id, treeDir, func(m *layerdir.Meta) error {
		m.IDMap = nil // a mapped bind stores the container's IDs
		return nil
	})
	if err != nil {
		return fmt.Errorf("vfs: seal layer %s: %w", id, err)
	}
	return nil
}

// Remove renames the layer out of the way and deletes it in the background.
func (d *vfs) Remove(_ context.Context, id driver.ID) error {
	if err := d.store.RemoveIdle(id); err != nil {
		return fmt.Errorf("vfs: remove layer %s: %w", id, err)
	}
	return nil
}

// Usage counts the whole copy: blocks shared with the parent count on both sides.
func (d *vfs) Usage(ctx context.Context, id driver.ID) (driver.Usage, error) {
	u, err := d.store.Usage(ctx, id, treeDir)
	if err != nil {
		return u, fmt.Errorf("vfs: usage of layer %s: %w", id, err)
	}
	return u, nil
}

// Layers lists the layers on disk.
func (d *vfs) Layers(context.Context) ([]driver.ID, error) { return d.store.List() }

// Cleanup deletes what Remove put aside and interrupted calls left behind.
func (d *vfs) Cleanup(ctx context.Context) error { return d.store.Cleanup(ctx) }

// Place implements [driver.Placer].
func (d *vfs) Place() string { return d.store.Root() }

// Leftovers implements [driver.Placer].
func (d *vfs) Leftovers() bool { return d.store.Leftovers() }

// Close waits for deletions in the background.
func (d *vfs) Close() error { return d.store.Close() }
