package aufs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/durable"
	"github.com/layerkeep/layerkeep/internal/layerdir"
	"github.com/layerkeep/layerkeep/internal/ownfiles"
)

// Names in the store's directory.
const (
	layersDir = "layers" // a file for each layer: the IDs of its parents
	diffDir   = "diff"   // the branches
	mntDir    = "mnt"    // mount points
	// ownDir holds what is ours: the records of the layers we made in layers, and
	// in mounts what Mount keeps. No layer's ID starts with a dot.
	ownDir    = ".layerkeep"
	mountsDir = "mounts"
)

// incompleteName is a file in the record of a layer that is being made or
// removed. As long as it is there the layer does not exist, and whatever there
// is of it can be deleted.
const incompleteName = "incomplete"

// A store is the classic layout with our records beside it. What has no record
// is another engine's. So a record comes first when a layer is made and goes
// last when one is removed, and nothing of ours is ever taken for foreign.
type store struct {
	root    string
	records *layerdir.Store
	log     *slog.Logger // nil discards
	warned  sync.Map     // layers of which the log has heard
	// names is held while layers are made and removed.
	names sync.Mutex
	// step is called before each step of that. An error from it is one of the
	// step. For tests.
	step func(name string) error
	// made are the directories that opening has made, parents first.
	made []string
}

// openStore returns a store to be closed after an error too.
func openStore(root string, opts driver.Options) (*store, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	s := &store{root: root, log: opts.Logger, step: func(string) error { return nil }}
	if err := s.checkPlaces(); err != nil {
		return s, err
	}
	if !opts.ReadOnly {
		if err := s.makePlaces(); err != nil {
			return s, err
		}
	}
	if s.records, err = layerdir.OpenFor(s.own(layersDir), opts); err != nil {
		return s, err
	}
	s.records.StackAtMost(maxParents)
	return s, nil
}

// checkPlaces refuses a store in which something else stands in the place of
// one of the directories of the layout.
func (s *store) checkPlaces() error {
	var own []ownfiles.Entry
	for _, name := range []string{
		ownDir, filepath.Join(ownDir, layersDir), filepath.Join(ownDir, mountsDir), layersDir, diffDir, mntDir,
	} {
		own = append(own, ownfiles.Entry{Name: name, Dir: true})
	}
	return ownfiles.Check(s.root, own...)
}

// checkLayer is that for what a layer has in them.
func (s *store) checkLayer(id driver.ID) error {
	return ownfiles.Check(s.root,
		ownfiles.Entry{Name: filepath.Join(diffDir, string(id)), Dir: true},
		ownfiles.Entry{Name: filepath.Join(mntDir, string(id)), Dir: true},
		ownfiles.Entry{Name: filepath.Join(layersDir, string(id))},
	)
}

// makePlaces makes the directories of the layout where they are missing. They
// must be on one file system, as layers move between them.
func (s *store) makePlaces() error {
	err := os.MkdirAll(filepath.Dir(s.root), 0o700)
	if err == nil {
		err = makeDir(s.root, 0o700)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	own := s.own()
	for _, path := range []string{
		own, s.own(layersDir), s.own(mountsDir),
		filepath.Join(s.root, layersDir), filepath.Join(s.root, diffDir), filepath.Join(s.root, mntDir),
	} {
		err := makeDir(path, 0o700)
		if err == nil {
			s.made = append(s.made, path)
		} else if !errors.Is(err, fs.ErrExist) {
			return err
		}
		if same, err := sameDevice(path, own); err != nil || !same {
			return errors.Join(err, fmt.Errorf("%w: %s is on another file system than %s", driver.ErrUnsupported, path, own))
		}
	}
	return nil
}

// unmake removes the directories that opening has made, of a store that cannot
// be used. One that is not empty stays.
func (s *store) unmake() {
	for _, path := range slices.Backward(s.made) {
		_ = os.Remove(path)
	}
}

func sameDevice(a, b string) (bool, error) {
	var x, y unix.Stat_t
	if err := errors.Join(unix.Lstat(a, &x), unix.Lstat(b, &y)); err != nil {
		return false, err
	}
	return x.Dev == y.Dev, nil
}

// own returns the path of our directory, or of names in it.
func (s *store) own(names ...string) string {
	return filepath.Join(append([]string{s.root, ownDir}, names...)...)
}

// branch returns the path of a layer's branch.
func (s *store) branch(id driver.ID) string { return filepath.Join(s.root, diffDir, string(id)) }

// mnt returns the path of a layer's mount point.
func (s *store) mnt(id driver.ID) string { return filepath.Join(s.root, mntDir, string(id)) }

// parentsFile returns the path of the file that names a layer's parents.
func (s *store) parentsFile(id driver.ID) string { return filepath.Join(s.root, layersDir, string(id)) }

// Load returns the record of a layer, made up for a foreign one. Returns
// [driver.ErrNotFound] for a layer that does not exist.
func (s *store) Load(id driver.ID) (layerdir.Meta, error) {
	m, err := s.records.Load(id)
	if errors.Is(err, driver.ErrNotFound) {
		// Of a layer of ours that is being removed the record can be gone, see mark.
		if ours, failure := s.ours(id); ours || failure != nil {
			return m, errors.Join(err, failure)
		}
		return s.loadForeign(id)
	}
	if err != nil {
		return m, err
	}
	incomplete, err := s.incomplete(id)
	if incomplete {
		err = fmt.Errorf("%s: %w", id, driver.ErrNotFound)
	}
	for _, layer := range append([]driver.ID{id}, m.Parents...) {
		if err == nil {
			err = s.checkLayer(layer)
		}
	}
	return m, err
}

// Writable is Load for a layer that is going to be changed, which one of
// another engine never is.
func (s *store) Writable(id driver.ID) (layerdir.Meta, error) {
	if err := s.Changeable(); err != nil {
		return layerdir.Meta{}, err
	}
	m, err := s.Load(id)
	switch {
	case err != nil:
		return m, err
	case m.Sealed:
		return m, fmt.Errorf("%s: %w", id, driver.ErrSealed)
	}
	return s.records.Writable(id)
}

func (s *store) incomplete(id driver.ID) (bool, error) {
	if ours, err := s.ours(id); !ours {
		return false, err
	}
	return exists(s.records.Path(id, incompleteName))
}

// ours reports whether there is a record of the layer, which may be incomplete.
func (s *store) ours(id driver.ID) (bool, error) {
	ours, err := exists(s.records.Path(id))
	if err == nil && ours {
		err = s.records.Plain(id)
	}
	if errors.Is(err, driver.ErrNotFound) { // removed meanwhile
		return false, nil
	}
	return ours && err == nil, err
}

// exists reports whether there is anything at path, a link that leads nowhere
// included.
func exists(path string) (bool, error) {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// CheckParents loads the records of parents. Returns [driver.ErrTooManyLayers],
// [driver.ErrNotFound] and [driver.ErrNotSealed] naming the parent.
func (s *store) CheckParents(parents []driver.ID) (layerdir.Inherited, error) {
	var none layerdir.Inherited // a record here says nothing of the kind
	// A view, which has no branch of its own, can have one more: another engine may
	// have left such a chain.
	if err := layerdir.CheckDepth(parents, maxParents+1); err != nil {
		return none, err
	}
	for i, p := range parents {
		m, err := s.Load(p)
		if err != nil {
			return none, fmt.Errorf("parent %w", err)
		}
		if !m.Sealed {
			return none, fmt.Errorf("parent %s: %w", p, driver.ErrNotSealed)
		}
		ours, err := s.ours(p)
		if err != nil {
			return none, err
		}
		if !ours && slices.Equal(m.Parents, parents[i+1:]) {
			return none, nil // loading it has looked at all of them
		}
	}
	return none, nil
}

// List returns the layers that we made.
func (s *store) List() ([]driver.ID, error) {
	ids, err := s.records.List()
	if err != nil {
		return nil, err
	}
	var there []driver.ID
	for _, id := range ids {
		incomplete, err := s.incomplete(id)
		if err != nil {
			return nil, err
		}
		if !incomplete {
			there = append(there, id)
		}
	}
	return there, nil
}

// recover removes what is left of layers that were being made or removed.
func (s *store) recover(ctx context.Context) error {
	ids, err := s.records.List()
	if err != nil {
		return err
	}
	s.names.Lock()
	defer s.names.Unlock()
	var errs []error
	for _, id := range ids {
		if err := ctx.Err(); err != nil {
			return err
		}
		if incomplete, err := s.incomplete(id); err != nil {
			errs = append(errs, err)
		} else if incomplete {
			errs = append(errs, s.erase(id))
		}
	}
	return errors.Join(errs...)
}

// pass logs, once, why a layer of another engine is passed over.
func (s *store) pass(ctx context.Context, id driver.ID, err error) {
	if _, again := s.warned.LoadOrStore(id, true); s.log != nil && !again {
		s.log.WarnContext(ctx, "layer of another engine passed over", "layer", id, "error", err)
	}
}

// Cleanup deletes what was removed and what interrupted calls left behind.
func (s *store) Cleanup(ctx context.Context) error {
	if err := s.records.Changeable(); err != nil {
		return err
	}
	return errors.Join(s.recover(ctx), durable.RemoveStale(filepath.Join(s.root, layersDir)), s.records.Cleanup(ctx))
}

// Close waits for deletions in the background.
func (s *store) Close() error {
	if s.records == nil {
		return nil
	}
	return s.records.Close()
}
