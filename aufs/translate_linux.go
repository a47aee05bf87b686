package aufs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/keylock"
	"github.com/layerkeep/layerkeep/internal/layerdir"
	"github.com/layerkeep/layerkeep/internal/ownfiles"
	"github.com/layerkeep/layerkeep/internal/rootfd"
	"github.com/layerkeep/layerkeep/internal/whiteout"
	"github.com/layerkeep/layerkeep/mount"
)

// A translator makes sealed layers mountable without aufs. It translates each
// layer into a tree in overlay's encoding. The files of the tree are hard links
// to files of the branch. An overlay of these trees shows the same as an aufs
// of the branches. It is mounted read-only, so that no program writes to the
// files through it. If overlay cannot be used, or cannot show a tree, the
// translator copies the merged tree instead.
//
// A translation stays until its layer is removed, or until Trim finds that no
// mount needs it. It is synced to disk and then appears by one rename.
type translator struct {
	opts driver.Options
	// trees has the translated layers, by encoding. Each has its tree in treeDir.
	trees map[whiteout.Encoding]*layerdir.Store
	// copies has the copied merged trees, each under the ID of its uppermost layer.
	// Each has its tree in treeDir.
	copies *layerdir.Store
	locks  keylock.Locks

	mu sync.Mutex
	// given are the layers for which this driver returned mounts. The caller may
	// not have mounted them yet.
	given   map[driver.ID]layers
	overlay *overlay // nil: not probed yet
}

const treeDir = "fs"

// overlay says what overlay can do here.
type overlay struct {
	lacks    error // why it cannot be used; nil if it can
	features mount.Features
}

func newTranslator(dir string, opts driver.Options) (*translator, error) {
	t := &translator{opts: opts, trees: map[whiteout.Encoding]*layerdir.Store{}, given: map[driver.ID]layers{}}
	for enc, name := range map[whiteout.Encoding]string{
		whiteout.Overlay: "overlay", whiteout.OverlayUser: "overlay-user", whiteout.Plain: "merged",
	} {
		err := ownfiles.Check(dir, ownfiles.Entry{Name: name, Dir: true})
		var s *layerdir.Store
		if err == nil {
			s, err = layerdir.OpenFor(filepath.Join(dir, name), opts)
		}
		if err != nil {
			return nil, errors.Join(err, t.close())
		}
		if enc == whiteout.Plain {
			t.copies = s
		} else {
			t.trees[enc] = s
		}
	}
	return t, nil
}

// stores returns all stores with translations and copies.
func (t *translator) stores() []*layerdir.Store {
	stores := []*layerdir.Store{t.copies}
	for _, s := range t.trees {
		stores = append(stores, s)
	}
	return stores
}

// mount makes a missing translation, logs that, and returns how to mount it.
func (t *translator) mount(ctx context.Context, l layers) ([]mount.Mount, error) {
	t.mu.Lock()
	_, before := t.given[l.id]
	t.given[l.id] = l // set before the translation is made, so that cleanup does not remove it
	t.mu.Unlock()
	mounts, err := t.mounts(ctx, l)
	if err != nil && !before {
		t.mu.Lock()
		delete(t.given, l.id)
		t.mu.Unlock()
	}
	return mounts, err
}

func (t *translator) mounts(ctx context.Context, l layers) ([]mount.Mount, error) {
	o, err := t.probe(ctx)
	if err != nil {
		return nil, err
	}
	why := o.lacks
	if why == nil && len(l.ids) > mount.MaxLower {
		why = fmt.Errorf("overlay takes %d layers at most", mount.MaxLower)
	}
	if why == nil {
		mounts, err := t.overlayOf(ctx, l, o)
		if !errors.Is(err, errUnfit) && !errors.Is(err, errNotTranslated) {
			return mounts, err
		}
		why = err
	}
	return t.copyOf(ctx, l, why)
}

// overlayOf translates the layers, lowest first, and returns an overlay of
// them.
func (t *translator) overlayOf(ctx context.Context, l layers, o overlay) ([]mount.Mount, error) {
	enc := o.encoding()
	s := t.trees[enc]
	var said bool
	lower := make([]string, len(l.ids))
	for i := len(l.ids) - 1; i >= 0; i-- {
		err := t.ensure(ctx, s, l.ids[i], func(dir string) error {
			if !said {
				t.warn(ctx, l, "aufs is not in this kernel: translating the layers, once, for reading")
				said = true
			}
			return translate(ctx, l.branches[i:], dir, o, t.opts.Fallbacks)
		})
		if err != nil {
			return nil, fmt.Errorf("translate layer %s: %w", l.ids[i], err)
		}
		lower[i] = s.Path(l.ids[i], treeDir)
		if err := o.unfit(lower[i]); err != nil {
			return nil, fmt.Errorf("translate layer %s: %w", l.ids[i], err)
		}
	}
	if len(lower) == 1 { // overlay needs two lower directories if it has no upper directory
		empty, err := emptyIn(s)
		if err != nil {
			return nil, err
		}
		lower = append(lower, empty)
	}
	return []mount.Mount{{
		Type: "overlay", Source: l.label, ReadOnly: true,
		Overlay: &mount.Overlay{Lower: lower}, Options: overlayOptions(o.features),
	}}, nil
}

// emptyIn returns an empty directory in s. The first call makes it.
func emptyIn(s *layerdir.Store) (string, error) {
	empty := filepath.Join(s.Root(), ".empty")
	if err := ownfiles.Check(s.Root(), ownfiles.Entry{Name: ".empty", Dir: true}); err != nil {
		return "", err
	}
	if s.Changeable() != nil {
		if _, err := os.Lstat(empty); err != nil {
			return "", errNotTranslated
		}
		return empty, nil
	}
	if err := os.Mkdir(empty, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	return empty, nil
}

// errNotTranslated says why a layer cannot be mounted from a read-only store.
var errNotTranslated = fmt.Errorf("aufs is not in this kernel, and the layer was not translated for it while the store was writable: %w", driver.ErrReadOnly)

// overlayOptions returns mount options for everything whose default differs
// between kernels. A translation contains no redirects.
func overlayOptions(f mount.Features) []string {
	opts := []string{"index=off"}
	if f.Xino {
		opts = append(opts, "xino=off")
	}
	if f.UserXattr {
		return append(opts, "userxattr")
	}
	if f.RedirectDir {
		opts = append(opts, "redirect_dir=nofollow")
	}
	if f.Metacopy {
		opts = append(opts, "metacopy=off")
	}
	return opts
}

// copyOf copies the merged tree. why says why overlay cannot be used.
func (t *translator) copyOf(ctx context.Context, l layers, why error) ([]mount.Mount, error) {
	top := l.ids[0]
	err := t.ensure(ctx, t.copies, top, func(dir string) error {
		t.warn(ctx, l, "aufs is not in this kernel: copying the layers into one tree, once, for reading", "overlay", why)
		return copyMerged(ctx, l.branches, filepath.Join(dir, treeDir), t.opts)
	})
	if errors.Is(err, errNotTranslated) {
		return nil, err // there is no copy either
	}
	if err != nil {
		return nil, fmt.Errorf("copy layer %s with its parents: %w", top, err)
	}
	return []mount.Mount{{Type: "bind", Source: t.copies.Path(top, treeDir), ReadOnly: true}}, nil
}

// ensure makes the entry of a layer in a store if it is missing. fill fills its
// directory. Concurrent callers wait and then find the entry.
func (t *translator) ensure(ctx context.Context, s *layerdir.Store, id driver.ID, fill func(dir string) error) error {
	unlock, err := t.locks.Lock(ctx, s.Path(id))
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := s.Load(id); !errors.Is(err, driver.ErrNotFound) {
		return err
	} else if s.Changeable() != nil {
		return errNotTranslated
	}
	err = s.Create(id, layerdir.Meta{Sealed: true}, func(dir string) error {
		if err := fill(dir); err != nil {
			return err
		}
		return layerdir.SyncFS(dir)
	})
	if errors.Is(err, driver.ErrExists) { // another process made it first
		return nil
	}
	return err
}

// probe finds out once what overlay can do here.
func (t *translator) probe(ctx context.Context) (overlay, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.overlay != nil {
		return *t.overlay, nil
	}
	o, err := t.tryOverlay(ctx)
	if err != nil && !errors.Is(err, mount.ErrUnsupported) {
		return o, err
	}
	if o.lacks = err; t.opts.Fallbacks.NoEscape {
		o.features.Escapes = false
	}
	t.overlay = &o
	return o, nil
}

// tryOverlay probes overlay in a directory of the store. For a read-only store
// it probes in memory; the file system of the store was already checked when
// the layers were translated. The error matches [mount.ErrUnsupported] if
// overlay cannot be used.
func (t *translator) tryOverlay(ctx context.Context) (o overlay, err error) {
	if t.opts.Fallbacks.NoOverlay {
		return o, fmt.Errorf("%w: it is switched off", mount.ErrUnsupported)
	}
	if t.opts.ReadOnly {
		o.features, err = layerdir.OverlayInMemory(ctx, t.copies.Root(), t.opts)
		return o, err
	}
	dir, done, err := t.copies.Staging("probe")
	if err != nil {
		return o, err
	}
	defer done()
	mounter := mount.Mounter{First: t.opts.Fallbacks.MountWay}
	o.features, err = mounter.Probe(ctx, dir, t.opts.Fallbacks.UserXattr)
	if err == nil {
		err = tellsTypes(dir)
	}
	return o, err
}

// encoding returns the encoding of translations.
func (o overlay) encoding() whiteout.Encoding {
	if o.features.UserXattr {
		return whiteout.OverlayUser
	}
	return whiteout.Overlay
}

// tellsTypes refuses file systems whose directory listings have no file types:
// overlay would show whiteouts there.
func tellsTypes(dir string) error {
	d, err := rootfd.Open(dir, rootfd.Options{})
	if err != nil {
		return err
	}
	defer d.Close()
	entries, err := d.Entries()
	for _, e := range entries {
		if e.Type == 0 {
			return fmt.Errorf("%w: this file system's listings do not tell types (d_type)", mount.ErrUnsupported)
		}
	}
	return err
}

func (t *translator) warn(ctx context.Context, l layers, message string, args ...any) {
	if t.opts.Logger != nil {
		t.opts.Logger.WarnContext(ctx, message, append([]any{"layer", l.id, "layers", len(l.ids)}, args...)...)
	}
}
