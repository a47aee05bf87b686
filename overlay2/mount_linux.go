package overlay2

import (
	"context"
	"fmt"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/layerdir"
	"github.com/layerkeep/layerkeep/internal/layerlife"
	"github.com/layerkeep/layerkeep/internal/ownfiles"
	"github.com/layerkeep/layerkeep/internal/rmtree"
	"github.com/layerkeep/layerkeep/mount"
)

// Mounts returns one mount: an overlay whose source is the layer's path, so
// that the mount table shows which layer it is. Mounts removes the file that a
// volatile mount leaves in the work directory to prevent the next mount.
//
// A layer without parents is mounted as an overlay over an empty directory. A
// bind mount would show overlay's own attributes, and escaped attributes under
// their escaped names (A6). Through it a container could also write attributes
// that redirect once the layer is a parent.
//
// In a read-only store, the upper directory of a writable layer becomes the
// uppermost lower directory, because the kernel does not allow an upper
// directory there.
func (d *backend) Mounts(ctx context.Context, l layerlife.Layer, opts driver.MountOptions) ([]mount.Mount, error) {
	id, m := l.ID, l.Meta
	if err := d.mountable(l); err != nil {
		return nil, err
	}
	writable := !m.View && !m.Sealed && !d.opts.ReadOnly
	dirs := d.dirs(id, m)
	if len(dirs) == 1 {
		if err := ownfiles.Check(d.store.Root(), ownfiles.Entry{Name: emptyDir, Dir: true}); err != nil {
			return nil, err
		}
		dirs = append(dirs, d.empty())
	}
	res := mount.Mount{
		Type: "overlay", Source: layerdir.Label(d.store.Path(id)), ReadOnly: opts.ReadOnly || !writable,
		Overlay: &mount.Overlay{Lower: dirs}, Options: d.options(m), IDMap: m.IDMap,
	}
	if writable {
		res.Overlay.Lower = dirs[1:]
		res.Overlay.Upper = dirs[0]
		res.Overlay.Work = d.store.Path(id, workDir)
	}
	if len(res.Overlay.Lower) > mount.MaxLower {
		return nil, fmt.Errorf("%w: %d layers, at most %d", driver.ErrUnsupported, len(dirs), mount.MaxLower)
	}
	if writable {
		if err := rmtree.Remove(res.Overlay.Work + "/work/incompat"); err != nil {
			return nil, err
		}
		if opts.Volatile && !opts.ReadOnly && d.features.Volatile {
			if err := d.store.MarkVolatile(id); err != nil {
				return nil, err
			}
			res.Options = append(res.Options, "volatile")
		} else if err := d.store.EndVolatile(ctx, id); err != nil {
			return nil, err
		}
	}
	return []mount.Mount{res}, nil
}

// mountable returns an error for a layer that cannot be mounted here, or cannot
// be mounted now.
func (d *backend) mountable(l layerlife.Layer) error {
	if l.Detached {
		return errDetached
	}
	if err := d.canMount(); err != nil {
		return err
	}
	if err := d.store.CheckLent(l.Parents...); err != nil {
		return err
	}
	if l.Escaped && !d.features.Escapes {
		return d.errEscaped()
	}
	if _, err := d.shiftOf(l.ID, l.Meta); err != nil {
		return err
	}
	if d.opts.ReadOnly && l.IDMap != nil && !l.View && !l.Sealed {
		return errMappedUpper
	}
	return nil
}

// errDetached says that a layer does not have its parents yet.
var errDetached = fmt.Errorf("%w: it was unpacked without its parents and has to be rebased or sealed first", driver.ErrUnsupported)

// errMappedUpper is the error for mounting a writable layer with an ID map from
// a read-only store. The layer's own directory has the host's IDs. Overlay
// shows these right only if the directory is the upper directory, beside mapped
// lower directories.
var errMappedUpper = fmt.Errorf("%w: its map of owners needs an upper directory to be mounted: %w", driver.ErrUnsupported, driver.ErrReadOnly)

// dirs returns the directories that make up the merged tree of a layer,
// uppermost first.
func (d *backend) dirs(id driver.ID, m layerdir.Meta) []string {
	var dirs []string
	if !m.View {
		dirs = append(dirs, d.store.Path(id, fsDir))
	}
	for _, p := range m.Parents {
		dirs = append(dirs, d.store.Path(p, fsDir))
	}
	return dirs
}

// options returns mount options for everything whose default differs between
// kernels. The index is off because it would tie the layer to the inodes of its
// parents, and the layer has to stay independent of them. Redirects are safe to
// follow, because only overlay itself can have written them; see
// [whiteout.Encoding.XattrToDisk].
func (d *backend) options(m layerdir.Meta) []string {
	opts := []string{"index=off"}
	if d.features.Xino {
		opts = append(opts, "xino=off")
	}
	if d.features.UUID {
		opts = append(opts, "uuid=null")
	}
	if d.features.UserXattr {
		return append(opts, "userxattr")
	}
	switch {
	case d.features.RedirectDir:
		opts = append(opts, "redirect_dir=on")
	case d.opts.Fallbacks.NoMetadataOpt:
		opts = append(opts, "redirect_dir=off")
	}
	switch {
	case m.Metacopy && d.features.Metacopy:
		opts = append(opts, "metacopy=on")
	case d.features.Metacopy, d.opts.Fallbacks.NoMetadataOpt:
		opts = append(opts, "metacopy=off")
	}
	return opts
}
