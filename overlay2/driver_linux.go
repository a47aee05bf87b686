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

// Names in the directory of a layer.
const (
	fsDir     = "fs"         // the layer's own files: upper or lower directory
	workDir   = "work"       // overlay's scratch directory beside it, until the layer is sealed
	deltaDir  = "delta"      // the delta of a detached layer, until it is rebased
	deltaFile = "delta.json" // the part of the delta that its tree cannot hold
)

// emptyDir is a directory in the store's directory. It is the lower directory
// for mounts of layers without parents. No layer's ID starts with a dot.
const emptyDir = ".empty"

// overlay is the driver: the common life cycle of layers with the backend's
// hooks, and the methods that only overlay2 has.
type overlay struct {
	*layerlife.Driver
	layerdir.Parts
	abilities
}

// abilities are the backend's methods that the driver has, too. The type puts
// them one level deeper in overlay, so that a hook does not hide the method of
// layerlife.Driver with the same name.
type abilities struct{ *backend }

// backend implements the hooks of [layerlife.Backend].
type backend struct {
	store    *layerdir.Store
	opts     driver.Options
	marks    marks
	features mount.Features
	xattrs   []string
	// userNS: device nodes cannot be made here.
	userNS bool
	// idmap: lower directories can be mounted with mapped IDs.
	idmap bool
	// onXFS: the store is on an XFS file system.
	onXFS bool
	// untried says why it is not known what can be mounted. It is nil if that is
	// known.
	untried error
}

// New opens the driver's store in root, and creates it if it is missing. New
// probes whether overlay works on the file system and the kernel. If it does
// not, New returns an error matching [driver.ErrUnsupported] that says what is
// missing.
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

// try probes what works here.
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

// needTypes refuses file systems whose directory listings have no file types,
// such as an XFS made with ftype=0. Overlay cannot tell whiteouts from other
// files there.
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

// Properties returns the driver's properties.
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

// Make makes <id>/{fs,work}. The layer's root directory gets the attributes of
// the nearest parent's root, because the merged root shows the attributes of
// the uppermost one.
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

// empty returns the path of emptyDir. Making the first layer without parents
// creates it.
func (d *backend) empty() string { return filepath.Join(d.store.Root(), emptyDir) }

// setRoot gives a layer's root directory its initial attributes: those of the
// nearest parent's root, or of an empty root.
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

// Seal syncs the file system and then writes the record: the usage, whether the
// layer has escaped attributes, and the sealed mark. Files that an unsealed
// layer needs are removed only after the record is written, so that an
// interrupted call can be repeated.
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

// Prepare merges a detached layer over no parents. It gives the files of a
// layer with mapped IDs the owners that they have in the container.
func (d *backend) Prepare(ctx context.Context, l *layerlife.Layer) error {
	if l.Detached {
		if err := d.rebase(ctx, l.ID, nil); err != nil {
			return err
		}
		l.Detached = false
	} else if len(l.Parents) == 0 { // an earlier call may have been interrupted after the merge
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

// Settle counts the layer's own files, and checks them for escaped attributes.
func (d *backend) Settle(ctx context.Context, l *layerlife.Layer) error {
	usage, escaped, err := d.survey(ctx, l.ID)
	l.Meta.Usage, l.Escaped = &usage, l.Escaped || escaped
	return err
}

// Usage counts the layer's own files, without overlay's work directory.
func (d *backend) Usage(ctx context.Context, l layerlife.Layer) (driver.Usage, error) {
	if l.Detached {
		return layerdir.Usage(ctx, d.store.Path(l.ID, deltaDir))
	}
	return layerdir.Usage(ctx, d.store.Path(l.ID, fsDir))
}
