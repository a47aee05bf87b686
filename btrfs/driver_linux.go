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

// Names in the directory of a layer, and in its subvolume.
const (
	volDir        = "vol"
	treeDir       = "fs"
	stagingPrefix = "staging-" // beside treeDir, for unpacking
)

// btrfs is the driver: the common life cycle of layers with the backend's
// hooks, and the methods that only btrfs has.
type btrfs struct {
	*layerlife.Driver
	layerdir.Parts
	abilities
}

// abilities are the backend's methods that the driver has, too. The type puts
// them one level deeper in btrfs, so that a hook does not hide the method of
// layerlife.Driver with the same name.
type abilities struct{ *backend }

// backend implements the hooks of [layerlife.Backend].
type backend struct {
	store   *layerdir.Store
	opts    driver.Options
	log     *slog.Logger
	xattrs  []string
	reflink bool
	idmap   bool
	// known: the fields above were probed or remembered.
	known bool
	// uncleaned: since the last Cleanup, a layer was removed, or something in a
	// layer could not be removed.
	uncleaned atomic.Bool

	mu sync.Mutex
	// unpacking has the paths of staging directories in use.
	unpacking map[string]bool
	// qgroups are the quota groups of destroyed subvolumes that could not be
	// removed yet.
	qgroups []uint64
	quotas  sync.Mutex // held while quotas are switched on or counted anew
	// deleting is held by delete. Otherwise Cleanup and a background deletion could
	// work on the same directory, and one could destroy what the other has just
	// found.
	deleting sync.Mutex
	// sealing is held for reading by Seal, and for writing by Cleanup while it
	// works in a layer.
	sealing sync.RWMutex
}

// New opens the driver's store in root, and creates it if it is missing. New
// probes whether root is on a btrfs and whether this process may use subvolumes
// there. If not, it returns an error matching [driver.ErrUnsupported] that says
// why.
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
	// Syncing the directory would write its renames to the log tree. If the log
	// also covers a destroyed subvolume, the file system may fail to mount after a
	// power cut (Linux 6.18: "log replay failed in unlink_inode_for_log_replay").
	store.SettleWith(subvol.Commit)
	if err := d.probe(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("btrfs: %w", err), store.Close())
	}
	return &btrfs{layerlife.New(store, d), store.Parts(Name, volDir, nil), abilities{d}}, nil
}

// facts are what probe finds out.
type facts struct {
	Xattrs  []string `json:"xattrs"`
	Reflink bool     `json:"reflink"`
	IDMap   bool     `json:"idmap"`
}

// Found returns the facts that probe found out or remembered.
func (d *backend) Found() json.RawMessage {
	return layerdir.Found(d.known, facts{d.xattrs, d.reflink, d.idmap})
}

// probe finds out what works here, or uses remembered facts. Without either it
// uses the slow ways, which work everywhere.
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

// tryReading probes what reading needs, without writing. A read-only store
// without layers may have no directory; see [layerdir.OpenReadOnly].
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

// try probes what the driver needs, in a directory of the store.
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

// Properties returns the driver's properties.
func (d *backend) Properties() driver.Properties {
	return driver.Properties{
		NativeDiff: true, Reflink: d.reflink, RenameDir: true, MountsWritable: !d.opts.ReadOnly, Quota: true, Idmap: d.idmap,
		XattrNamespaces: d.xattrs, MaxParents: layerdir.MaxParents,
	}
}

// vol returns the path of the subvolume that has the layer's merged tree.
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
	return subvol.Sync(dir) // so that it is durable, as a new snapshot is
}

func snapshot(from string, dir *os.File) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	return subvol.Snapshot(src, dir, volDir)
}

// Mounts returns a bind mount of the layer's tree, or for a view of the
// parent's tree.
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

// makeWritable repairs a layer after a call that was killed: Seal may have made
// the subvolume read-only before it wrote the record, or the size limit may
// still be lifted. The content of the layer does not change.
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

// Close waits for background deletions.
func (d *btrfs) Close() error {
	err := d.Driver.Close()
	d.dropQgroups(nil)
	return err
}
