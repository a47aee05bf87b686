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

// overlay is the driver. It implements [driver.Driver], [driver.Rebaser] and
// [driver.Explainer].
type overlay struct {
	layerdir.Recorder
	layerdir.Rerecorder
	layerdir.Replacer

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
	d := &overlay{Recorder: store.Recorder(Name), Replacer: store.Replacer(Name), store: store, opts: opts, marks: marks{whiteout.Overlay}}
	d.Rerecorder = store.Rerecorder(Name, fsDir, d.refind)
	if err := d.probe(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("overlay2: %w", err), store.Close())
	}
	return d, nil
}

func (d *overlay) mounter() mount.Mounter {
	return mount.Mounter{First: d.opts.Fallbacks.MountWay}
}

// try finds out what works here.
func (d *overlay) try(ctx context.Context) (f facts, err error) {
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
func (d *overlay) Name() string { return Name }

// Properties returns the facts.
func (d *overlay) Properties() driver.Properties {
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
		MountWay:        d.features.Way,
		MaxParents:      mount.MaxLower,
		XattrNamespaces: d.xattrs,
	}
}

// Create makes <id>/{fs,work}; the root directory's attributes are the nearest
// parent's, since the uppermost directory gives those of the merged one.
func (d *overlay) Create(ctx context.Context, id driver.ID, parents []driver.ID, opts driver.CreateOptions) error {
	if err := d.create(ctx, id, parents, opts); err != nil {
		return fmt.Errorf("overlay2: create layer %s: %w", id, err)
	}
	return nil
}

func (d *overlay) create(ctx context.Context, id driver.ID, parents []driver.ID, opts driver.CreateOptions) error {
	if err := errors.Join(ctx.Err(), d.store.Changeable()); err != nil {
		return err
	}
	inherited, err := d.store.CheckParents(parents)
	if err != nil {
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
	meta := layerdir.Meta{Parents: parents, View: opts.View, IDMap: opts.IDMap, Note: opts.Note}
	meta.Metacopy = d.opts.Metacopy && d.features.Metacopy && !opts.View
	meta.Inherit(inherited)
	if len(parents) == 0 {
		if err := os.Mkdir(d.empty(), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return d.store.Create(id, meta, func(dir string) error {
		if opts.View {
			return nil
		}
		for _, name := range []string{fsDir, workDir} {
			if err := os.Mkdir(dir+"/"+name, 0o755); err != nil {
				return err
			}
		}
		err := d.setRoot(dir+"/"+fsDir, parents)
		if err == nil && opts.IDMap != nil {
			err = mapRoot(dir+"/"+fsDir, opts.IDMap)
		}
		return err
	})
}

// empty is the path of the directory that layers without parents are mounted
// over; the first of them makes it.
func (d *overlay) empty() string { return filepath.Join(d.store.Root(), emptyDir) }

// setRoot gives a layer's root directory the attributes it has before anything
// is applied.
func (d *overlay) setRoot(path string, parents []driver.ID) error {
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

// Seal writes the file system to disk and then the record: the usage, whether the
// layer has escaped attributes, and the mark that it is sealed. What the record
// depends on stays until it counts, so that an interrupted call can be repeated.
func (d *overlay) Seal(ctx context.Context, id driver.ID) error {
	err := d.seal(ctx, id)
	for _, name := range []string{shiftFile, workDir} {
		if err == nil {
			err = rmtree.Remove(d.store.Path(id, name))
		}
	}
	if err != nil {
		return fmt.Errorf("overlay2: seal layer %s: %w", id, err)
	}
	return nil
}

func (d *overlay) seal(ctx context.Context, id driver.ID) error {
	prepare := func(m *layerdir.Meta) error {
		if m.Detached {
			if err := d.rebase(ctx, id, nil); err != nil {
				return err
			}
			m.Detached = false
		} else if len(m.Parents) == 0 { // an earlier try may have ended after the merge
			if err := d.dropDelta(id); err != nil {
				return err
			}
		}
		if m.IDMap != nil {
			if err := d.shiftOwners(ctx, id, &shift{m.IDMap, d.onXFS}); err != nil {
				return err
			}
			m.IDMap = nil
		}
		return nil
	}
	return d.store.SealWith(id, prepare, func(m *layerdir.Meta) error {
		usage, escaped, err := d.survey(ctx, id)
		m.Usage, m.Escaped = &usage, m.Escaped || escaped
		return err
	})
}

// Remove renames the layer out of the way and deletes it in the background.
func (d *overlay) Remove(_ context.Context, id driver.ID) error {
	if err := d.store.RemoveIdle(id); err != nil {
		return fmt.Errorf("overlay2: remove layer %s: %w", id, err)
	}
	return nil
}

// Usage counts the layer's own files, not overlay's work directory.
func (d *overlay) Usage(ctx context.Context, id driver.ID) (driver.Usage, error) {
	u, err := d.store.UsageWith(id, func(m layerdir.Meta) (driver.Usage, error) {
		if m.Detached {
			return layerdir.Usage(ctx, d.store.Path(id, deltaDir))
		}
		return layerdir.Usage(ctx, d.store.Path(id, fsDir))
	})
	if err != nil {
		return u, fmt.Errorf("overlay2: usage of layer %s: %w", id, err)
	}
	return u, nil
}

// Layers lists the layers on disk.
func (d *overlay) Layers(context.Context) ([]driver.ID, error) { return d.store.List() }

// Cleanup deletes what Remove put aside and interrupted calls left behind.
func (d *overlay) Cleanup(ctx context.Context) error { return d.store.Cleanup(ctx) }

// Place implements [driver.Placer].
func (d *overlay) Place() string { return d.store.Root() }

// Leftovers implements [driver.Placer].
func (d *overlay) Leftovers() bool { return d.store.Leftovers() }

// Close waits for deletions in the background.
func (d *overlay) Close() error { return d.store.Close() }
