package vfs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/copytree"
	"github.com/layerkeep/layerkeep/internal/durable"
	"github.com/layerkeep/layerkeep/internal/layerdir"
	"github.com/layerkeep/layerkeep/internal/layerlife"
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

// vfs is the driver: the life of layers with the backend's hooks, and what only
// it can do.
type vfs struct {
	*layerlife.Driver
	layerdir.Parts
	abilities
}

// abilities are the methods of the backend that are those of the driver, too:
// Found, Borrow, CheckHints and the like. As they are one step further down, a
// hook does not hide the method of the same name that layers have.
type abilities struct{ *backend }

// backend has the hooks of [layerlife.Backend].
type backend struct {
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
	b := &backend{store: store, opts: opts}
	if err := b.probe(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("vfs: %w", err), store.Close())
	}
	return &vfs{layerlife.New(store, b), store.Parts(Name, treeDir, b.rehint), abilities{b}}, nil
}

// facts are what opening finds out.
type facts struct {
	Xattrs  []string `json:"xattrs"`
	Reflink bool     `json:"reflink"`
	IDMap   bool     `json:"idmap"`
	UserNS  bool     `json:"userNS"`
}

// probe finds out what works here, or takes what was known. Without either the
// slow ways are taken, which need nothing.
func (d *backend) probe(ctx context.Context) error {
	f, known, err := layerdir.Learn(d.opts, func() (facts, error) { return d.try(ctx) })
	d.xattrs, d.reflink, d.idmap, d.userNS, d.known = f.Xattrs, f.Reflink, f.IDMap, f.UserNS, known
	return err
}

func (d *backend) try(ctx context.Context) (f facts, err error) {
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
func (d *backend) Found() json.RawMessage {
	return layerdir.Found(d.known, facts{d.xattrs, d.reflink, d.idmap, d.userNS})
}

// Name returns [Name].
func (d *backend) Name() string { return Name }

// Properties returns the facts.
func (d *backend) Properties() driver.Properties {
	return driver.Properties{
		Reflink: d.reflink, RenameDir: true, Idmap: d.idmap, Rootless: true, MountsWritable: !d.opts.ReadOnly, XattrNamespaces: d.xattrs,
		MaxParents: layerdir.MaxParents,
	}
}

// Make copies the nearest parent's tree.
func (d *backend) Make(ctx context.Context, dir string, l *layerlife.Layer) error {
	if l.View {
		return nil
	}
	tree := dir + "/" + treeDir
	if err := os.Mkdir(tree, 0o755); err != nil {
		return err
	}
	if len(l.Parents) == 0 {
		return layerdir.EmptyRoot(tree)
	}
	return d.copyParent(ctx, l.Parents[0], dir)
}

// copyParent fills dir/tree, and the manifest once nothing in it changes any
// more.
func (d *backend) copyParent(ctx context.Context, parent driver.ID, dir string) error {
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

// tree returns the path of the tree that the layer's view is. The nearest
// parent has to be there, if it is borrowed.
func (d *backend) tree(l layerlife.Layer) (string, error) {
	if len(l.Parents) > 0 {
		if err := d.store.CheckLent(l.Parents[0]); err != nil {
			return "", err
		}
	}
	if l.View {
		return d.store.Path(l.Parents[0], treeDir), nil
	}
	return d.store.Path(l.ID, treeDir), nil
}

// Mounts binds the layer's tree, or that of the parent for a view.
func (d *backend) Mounts(_ context.Context, l layerlife.Layer, opts driver.MountOptions) ([]mount.Mount, error) {
	tree, err := d.tree(l)
	if err != nil {
		return nil, err
	}
	return []mount.Mount{{
		Type: "bind", Source: tree, ReadOnly: opts.ReadOnly || d.opts.ReadOnly || l.View || l.Sealed, IDMap: l.IDMap,
	}}, nil
}

// Target is the layer's tree.
func (d *backend) Target(_ context.Context, l layerlife.Layer, opts driver.ApplyOptions) (*layerlife.Target, error) {
	staging, done, err := d.store.OpenStaging(l.ID)
	if err != nil {
		return nil, err
	}
	tree, err := os.Open(d.store.Path(l.ID, treeDir))
	if err != nil {
		done()
		return nil, err
	}
	unpack := layerdir.UnpackOptions(d.opts, opts, l.ID, whiteout.Plain, d.userNS)
	unpack.Parents = diff.DirView(tree)
	return &layerlife.Target{
		Staging: staging, Options: unpack,
		Merge: func(ctx context.Context, delta *tar.Delta) error {
			return delta.Merge(ctx, tar.Target{Root: tree, NoFchmodat2: d.opts.Fallbacks.NoFchmodat2})
		},
		Close: func() { tree.Close(); done() },
	}, nil
}

// CheckWriters looks for mounts that other mount namespaces have.
func (d *backend) CheckWriters(ctx context.Context, id driver.ID) error {
	return d.store.NotWritableElsewhere(ctx, id)
}

// View opens the layer's tree.
func (d *backend) View(_ context.Context, l layerlife.Layer) (diff.View, error) {
	path, err := d.tree(l)
	if err != nil {
		return nil, err
	}
	return openTree(path, d.read())
}

func (d *backend) read() rootfd.Options {
	return layerdir.ReadOptions(d.opts.Fallbacks)
}

// Sides opens the trees of the parent and of the layer. A comparison looks at
// every inode of the tree, and reads only those that changed since they were
// copied; on a tmpfs, all regular files.
func (d *backend) Sides(_ context.Context, l layerlife.Layer) (parents, layer diff.View, err error) {
	path, err := d.tree(l)
	if err != nil {
		return nil, nil, err
	}
	t, err := openTree(path, d.read())
	if err != nil {
		return nil, nil, err
	}
	if len(l.Parents) == 0 {
		return nil, t, nil
	}
	parent, err := openTree(d.store.Path(l.Parents[0], treeDir), d.read())
	if err != nil {
		return nil, nil, errors.Join(err, t.Close())
	}
	t.old = parent.root
	if t.manifest, err = d.manifest(l.ID); err != nil {
		return nil, nil, errors.Join(err, t.Close(), parent.Close())
	}
	return parent, t, nil
}

// manifest returns nil when ctimes cannot be trusted.
func (d *backend) manifest(id driver.ID) (*manifest, error) {
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

// errNoClock: what time it is on the store's file system cannot be found out
// without writing to it.
var errNoClock = errors.New("the file system's time is not known")

// now is the file system's own time.
func (d *backend) now(id driver.ID) (time.Time, error) {
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

func (d *backend) warn(message string, id driver.ID, err error) {
	if d.opts.Logger != nil {
		d.opts.Logger.Warn(message, "layer", id, "error", err)
	}
}

// Prepare has nothing to do: the tree is the layer.
func (d *backend) Prepare(context.Context, *layerlife.Layer) error { return nil }

// Settle counts the tree.
func (d *backend) Settle(ctx context.Context, l *layerlife.Layer) error {
	l.IDMap = nil // a mapped bind stores the container's IDs
	usage, err := d.Usage(ctx, *l)
	l.Meta.Usage = &usage
	return err
}

// Usage counts the whole copy: blocks shared with the parent count on both
// sides.
func (d *backend) Usage(ctx context.Context, l layerlife.Layer) (driver.Usage, error) {
	return layerdir.Usage(ctx, d.store.Path(l.ID, treeDir))
}
