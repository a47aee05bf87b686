package overlay2

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/layerdir"
	"github.com/layerkeep/layerkeep/internal/layerlife"
	"github.com/layerkeep/layerkeep/internal/rmtree"
	"github.com/layerkeep/layerkeep/internal/rootfd"
	"github.com/layerkeep/layerkeep/internal/whiteout"
	"github.com/layerkeep/layerkeep/mount"
)

// Names in a layer's directory.
const (
	fsDir     = "fs"         // the layer's own files: upper or lower directory
	workDir   = "work"       // overlay's scratch space beside it, until sealed
	deltaDir  = "delta"      // what was unpacked without parents, until rebased
	deltaFile = "delta.json" // what the delta's tree cannot say
)

// emptyDir, in the store's directory, is what a layer without parents is
// mounted over. No layer's ID starts with a dot.
const emptyDir = ".empty"

// overlay is the driver: the life of layers with the backend's hooks, and what
// only it can do.
type overlay struct {
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
	store    *layerdir.Store
	opts     driver.Options
	marks    marks
	features mount.Features
	xattrs   []string
	// userNS: devices cannot be made here.
	userNS bool
	// idmap: lower directories can be mounted with mapped IDs.
	idmap bool
	// onXFS: the store is on an xfs.
	onXFS bool
	// untried says why it is not known what can be mounted; nil when it is.
	untried error
}

// New opens the store of this driver in root, which it creates when missing.
// Returns an error matching [driver.ErrUnsupported] that says what is missing
// when the file system or the kernel cannot carry overlay mounts on it: it has
// tried.
func New(ctx context.Context, root string, opts driver.Options) (driver.Driver, error) {
	store, err := layerdir.OpenFor(root, opts)
	if err != nil {
		return nil, fmt.Errorf("overlay2: %w", err)
	}
	store.StackAtMost(mount.MaxLower)
	d := &backend{store: store, opts: opts, marks: marks{whiteout.Overlay}}
	if err := d.probe(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("overlay2: %w", err), store.Close())
	}
	return &overlay{layerlife.New(store, d), store.Parts(Name, fsDir, d.refind), abilities{d}}, nil
}

func (d *backend) mounter() mount.Mounter {
	return mount.Mounter{First: d.opts.Fallbacks.MountWay}
}

// try finds out what works here.
func (d *backend) try(ctx context.Context) (f facts, err error) {
	dir, done, err := d.store.Staging("probe")
	if err != nil {
		return f, err
	}
	defer done()
	mounter := d.mounter()
	if f.Features, err = mounter.Probe(ctx, dir, d.opts.Fallbacks.UserXattr); err != nil {
		if errors.Is(err, mount.ErrUnsupported) {
			err = fmt.Errorf("%w: %w", driver.ErrUnsupported, err)
		}
		return f, err
	}
	if f.IDMap, err = d.store.CanMap(ctx, mounter, true); err != nil {
		return f, err
	}
	if err := needTypes(dir); err != nil {
		return f, err
	}
	if f.Xattrs, err = layerdir.XattrNamespaces(dir); err != nil {
		return f, err
	}
	if f.UserNS, err = layerdir.UserNS(dir); err != nil {
		return f, err
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return f, err
	}
	f.XFS = st.Type == unix.XFS_SUPER_MAGIC
	return f, nil
}

// needTypes refuses file systems whose listings do not tell types: overlay
// cannot tell whiteouts from files there (xfs made with ftype=0).
func needTypes(dir string) error {
	d, err := rootfd.Open(dir, rootfd.Options{})
	if err != nil {
		return err
	}
	defer d.Close()
	entries, err := d.Entries()
	for _, e := range entries {
		if e.Type == 0 {
			return fmt.Errorf("%w: this file system's listings do not tell types (d_type)", driver.ErrUnsupported)
		}
	}
	return err
}

// Name returns [Name].
func (d *backend) Name() string { return Name }

// Properties returns the facts.
func (d *backend) Properties() driver.Properties {
	refused := ""
	if !d.features.Escapes {
		refused = d.marks.XattrPrefix()
	}
	return driver.Properties{
		RefusedXattr:    refused,
		Rebase:          true,
		Explain:         true,
		NativeDiff:      true,
		SharesPages:     true,
		BreaksHardlinks: true,
		RenameDir:       d.features.RedirectDir,
		Idmap:           d.idmap,
		Rootless:        true,
		MountsWritable:  d.untried == nil && !d.opts.ReadOnly,
		Volatile:        d.features.Volatile && d.untried == nil && !d.opts.ReadOnly,
		MountWay:        d.features.Way,
		MaxParents:      mount.MaxLower,
		XattrNamespaces: d.xattrs,
	}
}

// Make makes <id>/{fs,work}; the root directory's attributes are the nearest
// parent's, since the uppermost directory gives those of the merged one.
func (d *backend) Make(_ context.Context, dir string, l *layerlife.Layer) error {
	if l.View {
		return nil
	}
	l.Metacopy = l.Metacopy || d.opts.Metacopy && d.features.Metacopy
	if len(l.Parents) == 0 {
		if err := os.Mkdir(d.empty(), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	for _, name := range []string{fsDir, workDir} {
		if err := os.Mkdir(dir+"/"+name, 0o755); err != nil {
			return err
		}
	}
	err := d.setRoot(dir+"/"+fsDir, l.Parents)
	if err == nil && l.IDMap != nil {
		err = mapRoot(dir+"/"+fsDir, l.IDMap)
	}
	return err
}

// empty is the path of the directory that layers without parents are mounted
// over; the first of them makes it.
func (d *backend) empty() string { return filepath.Join(d.store.Root(), emptyDir) }

// setRoot gives a layer's root directory the attributes it has before anything
// is applied.
func (d *backend) setRoot(path string, parents []driver.ID) error {
	if len(parents) == 0 {
		return layerdir.EmptyRoot(path)
	}
	v, err := openStack([]string{d.store.Path(parents[0], fsDir)}, d.marks, rootfd.Options{})
	if err != nil {
		return err
	}
	defer v.Close()
	root, err := v.Root()
	if err != nil {
		return err
	}
	defer root.Close()
	return layerdir.CopyRoot(path, root, d.marks.Encoding)
}

// Seal writes the file system to disk and then the record: the usage, whether
// the layer has escaped attributes, and the mark that it is sealed. What the
// record depends on stays until it counts, so that an interrupted call can be
// repeated.
func (d *overlay) Seal(ctx context.Context, id driver.ID) error {
	if err := d.Driver.Seal(ctx, id); err != nil {
		return err
	}
	for _, name := range []string{shiftFile, workDir} {
		if err := rmtree.Remove(d.store.Path(id, name)); err != nil {
			return d.Failed("seal", id, err)
		}
	}
	return nil
}

// Prepare puts a layer that was unpacked without parents over none, and gives
// files the owners that they have in the container.
func (d *backend) Prepare(ctx context.Context, l *layerlife.Layer) error {
	if l.Detached {
		if err := d.rebase(ctx, l.ID, nil); err != nil {
			return err
		}
		l.Detached = false
	} else if len(l.Parents) == 0 { // an earlier try may have ended after the merge
		if err := d.dropDelta(l.ID); err != nil {
			return err
		}
	}
	if l.IDMap != nil {
		if err := d.shiftOwners(ctx, l.ID, &shift{l.IDMap, d.onXFS}); err != nil {
			return err
		}
		l.IDMap = nil
	}
	return nil
}

// Settle counts the layer's own files, and looks for escaped attributes.
func (d *backend) Settle(ctx context.Context, l *layerlife.Layer) error {
	usage, escaped, err := d.survey(ctx, l.ID)
	l.Meta.Usage, l.Escaped = &usage, l.Escaped || escaped
	return err
}

// Usage counts the layer's own files, not overlay's work directory.
func (d *backend) Usage(ctx context.Context, l layerlife.Layer) (driver.Usage, error) {
	if l.Detached {
		return layerdir.Usage(ctx, d.store.Path(l.ID, deltaDir))
	}
	return layerdir.Usage(ctx, d.store.Path(l.ID, fsDir))
}
