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

// Names in the directory of a layer.
const (
	treeDir      = "tree"
	manifestFile = "manifest" // describes the tree as it was copied
)

// vfs is the driver: the common life cycle of layers with the backend's hooks,
// and the methods that only vfs has.
type vfs struct {
	*layerlife.Driver
	layerdir.Parts
	abilities
}

// abilities are the backend's methods that the driver has, too: Found, Borrow,
// CheckHints and others. The type puts them one level deeper in vfs, so that a
// hook does not hide the method of layerlife.Driver with the same name.
type abilities struct{ *backend }

// backend implements the hooks of [layerlife.Backend].
type backend struct {
	store   *layerdir.Store
	opts    driver.Options
	xattrs  []string
	reflink bool
	idmap   bool
	userNS  bool
	// known: the fields above were probed or remembered.
	known bool
}

// New opens the driver's store in root, and creates it if it is missing. New
// probes whether files can be given to root. If they cannot, it returns an
// error matching [driver.ErrUnsupported].
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

// facts are what probe finds out.
type facts struct {
	Xattrs  []string `json:"xattrs"`
	Reflink bool     `json:"reflink"`
	IDMap   bool     `json:"idmap"`
	UserNS  bool     `json:"userNS"`
}

// probe finds out what works here, or uses remembered facts. Without either it
// uses the slow ways, which work everywhere.
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

// Found returns the facts that probe found out or remembered.
func (d *backend) Found() json.RawMessage {
	return layerdir.Found(d.known, facts{d.xattrs, d.reflink, d.idmap, d.userNS})
}

// Name returns [Name].
func (d *backend) Name() string { return Name }

// Properties returns the driver's properties.
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

// copyParent fills dir/tree. After the last change to the tree it writes the
// manifest.
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

// tree returns the path of the layer's merged tree. It returns an error if the
// nearest parent is borrowed and missing.
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

// Mounts returns a bind mount of the layer's tree, or for a view of the
// parent's tree.
func (d *backend) Mounts(_ context.Context, l layerlife.Layer, opts driver.MountOptions) ([]mount.Mount, error) {
	tree, err := d.tree(l)
	if err != nil {
		return nil, err
	}
	return []mount.Mount{{
		Type: "bind", Source: tree, ReadOnly: opts.ReadOnly || d.opts.ReadOnly || l.View || l.Sealed, IDMap: l.IDMap,
	}}, nil
}

// Target returns the layer's tree as the target.
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

// CheckWriters looks for writable mounts in other mount namespaces.
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
// every inode of the layer's tree, and reads only files that changed since the
// copy. On a tmpfs it reads all regular files.
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

// manifest returns nil if change times cannot be trusted.
func (d *backend) manifest(id driver.ID) (*manifest, error) {
	if d.store.Lent(id) { // its change times may be from another file system, or forged
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

// errNoClock says that the time of the store's file system cannot be found out
// without writing to it.
var errNoClock = errors.New("the file system's time is not known")

// now returns the current time of the store's file system.
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

// Prepare does nothing: the tree already is the layer.
func (d *backend) Prepare(context.Context, *layerlife.Layer) error { return nil }

// Settle sets the layer's usage.
func (d *backend) Settle(ctx context.Context, l *layerlife.Layer) error {
	l.IDMap = nil // a mapped bind stores the container's IDs
	usage, err := d.Usage(ctx, *l)
	l.Meta.Usage = &usage
	return err
}

// Usage counts the whole copy. Blocks that layer and parent share are counted
// for both.
func (d *backend) Usage(ctx context.Context, l layerlife.Layer) (driver.Usage, error) {
	return layerdir.Usage(ctx, d.store.Path(l.ID, treeDir))
}
