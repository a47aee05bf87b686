package btrfs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/copytree"
	"github.com/layerkeep/layerkeep/internal/layerdir"
	"github.com/layerkeep/layerkeep/internal/layerlife"
	"github.com/layerkeep/layerkeep/internal/rootfd"
	"github.com/layerkeep/layerkeep/internal/subvol"
	"github.com/layerkeep/layerkeep/mount"
)

// Names in a layer's directory, and in its subvolume.
const (
	volDir        = "vol"
	treeDir       = "fs"
	stagingPrefix = "staging-" // beside treeDir: what is being unpacked
)

// btrfs is the driver: the life of layers with the backend's hooks, and what
// only it can do.
type btrfs struct {
	*layerlife.Driver
	layerdir.Parts
	abilities
}

// abilities are the methods of the backend that are those of the driver, too.
// As they are one step further down, a hook does not hide the method of the
// same name that layers have.
type abilities struct{ *backend }

// backend has the hooks of [layerlife.Backend].
type backend struct {
	store   *layerdir.Store
	opts    driver.Options
	log     *slog.Logger
	xattrs  []string
	reflink bool
	idmap   bool
	// known: that was found out, now or before.
	known bool
	// uncleaned: there was no Cleanup since a layer was removed, or since something
	// in one could not be.
	uncleaned atomic.Bool

	mu sync.Mutex
	// unpacking has the paths of staging directories in use.
	unpacking map[string]bool
	// qgroups are those of destroyed subvolumes that could not be removed yet.
	qgroups []uint64
	quotas  sync.Mutex // held while quotas are switched on or counted anew
	// deleting is held by delete: Cleanup and the deletion in the background may
	// come to the same directory, and what one found the other may have destroyed.
	deleting sync.Mutex
	// sealing is held for reading by Seal, and by Cleanup while it works in a
	// layer.
	sealing sync.RWMutex
}

// New opens the store of this driver in root, which it creates when missing.
// Returns an error matching [driver.ErrUnsupported] that says why when root is
// not on a btrfs, or this process may not use subvolumes there: it has tried.
func New(ctx context.Context, root string, opts driver.Options) (driver.Driver, error) {
	store, err := layerdir.OpenFor(root, opts)
	if err != nil {
		return nil, fmt.Errorf("btrfs: %w", err)
	}
	d := &backend{store: store, opts: opts, log: opts.Logger, unpacking: map[string]bool{}}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	store.OwnBelow(volDir)
	store.StackAtMost(layerdir.MaxParents)
	store.DeleteWith(d.delete)
	// Syncing the directory logs what was renamed in it, and a log that has seen a
	// subvolume being destroyed can make the file system one that cannot be mounted
	// after a power cut (Linux 6.18: "log replay failed in
	// unlink_inode_for_log_replay").
	store.SettleWith(subvol.Commit)
	if err := d.probe(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("btrfs: %w", err), store.Close())
	}
	return &btrfs{layerlife.New(store, d), store.Parts(Name, volDir, nil), abilities{d}}, nil
}

// facts are what opening finds out.
type facts struct {
	Xattrs  []string `json:"xattrs"`
	Reflink bool     `json:"reflink"`
	IDMap   bool     `json:"idmap"`
}

// Found returns what probe found out, or what was known instead.
func (d *backend) Found() json.RawMessage {
	return layerdir.Found(d.known, facts{d.xattrs, d.reflink, d.idmap})
}

// probe finds out what works here, or takes what was known. Without either the
// slow ways are taken, which need nothing.
func (d *backend) probe(ctx context.Context) error {
	if d.opts.ReadOnly {
		if err := d.tryReading(); err != nil {
			return err
		}
	}
	f, known, err := layerdir.Learn(d.opts, func() (facts, error) { return d.try(ctx) })
	d.xattrs, d.reflink, d.idmap, d.known = f.Xattrs, f.Reflink, f.IDMap, known
	return err
}

// tryReading tries what reading takes, which writes nothing. A store without
// layers may have no directory, see [layerdir.OpenReadOnly].
func (d *backend) tryReading() error {
	dir, err := os.Open(d.store.Root())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer dir.Close()
	on, err := subvol.OnBtrfs(dir)
	if err != nil {
		return err
	}
	if !on {
		return fmt.Errorf("%w: %s is not on a btrfs", driver.ErrUnsupported, d.store.Root())
	}
	if err := trySearch(dir); err != nil {
		return unsupported(err)
	}
	return nil
}

// try tries what the driver needs, in a directory of the store.
func (d *backend) try(ctx context.Context) (f facts, err error) {
	path, done, err := d.store.Staging("probe")
	if err != nil {
		return f, err
	}
	defer done()
	dir, err := os.Open(path)
	if err != nil {
		return f, err
	}
	defer dir.Close()
	on, err := subvol.OnBtrfs(dir)
	if err != nil {
		return f, err
	}
	if !on {
		return f, fmt.Errorf("%w: %s is not on a btrfs", driver.ErrUnsupported, d.store.Root())
	}
	if err := trySubvolumes(dir); err != nil {
		return f, unsupported(err)
	}
	if err := layerdir.CheckOwners(path); err != nil {
		return f, err
	}
	if f.Xattrs, err = layerdir.XattrNamespaces(path); err != nil {
		return f, err
	}
	if !d.opts.Fallbacks.NoReflink {
		if f.Reflink, err = copytree.CanReflink(path); err != nil {
			return f, err
		}
	}
	f.IDMap, err = d.store.CanMap(ctx, mount.Mounter{First: d.opts.Fallbacks.MountWay}, false)
	return f, err
}

// Name returns [Name].
func (d *backend) Name() string { return Name }

// Properties returns the facts.
func (d *backend) Properties() driver.Properties {
	return driver.Properties{
		NativeDiff: true, Reflink: d.reflink, RenameDir: true, MountsWritable: !d.opts.ReadOnly, Quota: true, Idmap: d.idmap,
		XattrNamespaces: d.xattrs, MaxParents: layerdir.MaxParents,
	}
}

// vol returns the path of the subvolume that the layer's view is in.
func (d *backend) vol(id driver.ID, m layerdir.Meta) string {
	if m.View {
		return d.store.Path(m.Parents[0], volDir)
	}
	return d.store.Path(id, volDir)
}

func (d *backend) read() rootfd.Options {
	return layerdir.ReadOptions(d.opts.Fallbacks)
}

// Make takes a snapshot of the nearest parent.
func (d *backend) Make(_ context.Context, dir string, l *layerlife.Layer) error {
	if l.View {
		return nil
	}
	return d.fill(dir, l.Meta)
}

// fill makes the subvolume of a layer in its directory.
func (d *backend) fill(dir string, m layerdir.Meta) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if m.Size > 0 {
		if err := d.needQuotas(f); err != nil {
			return err
		}
	}
	if len(m.Parents) == 0 {
		err = createEmpty(f)
	} else {
		err = snapshot(d.store.Path(m.Parents[0], volDir), f)
	}
	if err != nil {
		return err
	}
	if m.Size == 0 {
		return d.inheritNoLimit(dir + "/" + volDir)
	}
	return d.limit(dir+"/"+volDir, uint64(m.Size))
}

func createEmpty(dir *os.File) error {
	if err := subvol.Create(dir, volDir); err != nil {
		return err
	}
	tree := dir.Name() + "/" + volDir + "/" + treeDir
	if err := os.Mkdir(tree, 0o755); err != nil {
		return err
	}
	if err := layerdir.EmptyRoot(tree); err != nil {
		return err
	}
	return subvol.Sync(dir) // as a snapshot is on disk when it is made
}

func snapshot(from string, dir *os.File) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	return subvol.Snapshot(src, dir, volDir)
}

// Mounts binds the layer's tree, or that of the parent for a view.
func (d *backend) Mounts(_ context.Context, l layerlife.Layer, opts driver.MountOptions) ([]mount.Mount, error) {
	if !l.View && !l.Sealed && !d.opts.ReadOnly {
		if err := d.makeWritable(l.ID, l.Meta); err != nil {
			return nil, err
		}
	}
	return []mount.Mount{{
		Type: "bind", Source: d.vol(l.ID, l.Meta) + "/" + treeDir,
		ReadOnly: opts.ReadOnly || d.opts.ReadOnly || l.View || l.Sealed, IDMap: l.IDMap,
	}}, nil
}

// makeWritable undoes what a call that was killed has left: a layer that Seal
// made read-only before it was recorded as sealed, or one whose limit was
// lifted. What the layer holds stays as it is.
func (d *backend) makeWritable(id driver.ID, m layerdir.Meta) error {
	vol, err := os.Open(d.store.Path(id, volDir))
	if err != nil {
		return err
	}
	defer vol.Close()
	if err := subvol.SetReadOnly(vol, false); err != nil || m.Size == 0 {
		return err
	}
	return d.limit(vol.Name(), uint64(m.Size))
}

// Close waits for deletions in the background.
func (d *btrfs) Close() error {
	err := d.Driver.Close()
	d.dropQgroups(nil)
	return err
}
