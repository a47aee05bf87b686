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
	layersDir = "layers" // one file for each layer, with the IDs of its parents
	diffDir   = "diff"   // the branches
	mntDir    = "mnt"    // mount points
	// ownDir has the files of this driver: the records of its layers in layers, and
	// the translations in mounts. No layer's ID starts with a dot.
	ownDir    = ".layerkeep"
	mountsDir = "mounts"
)

// incompleteName is a file beside the record of a layer that is being made or
// removed. While it exists, the layer does not exist, and all of its files can
// be deleted.
const incompleteName = "incomplete"

// A store is the classic layout and the records of this driver. A layer without
// a record belongs to another engine. So the record is made first when a layer
// is made, and removed last when a layer is removed. A layer of this driver is
// then never taken for a foreign one.
type store struct {
	root    string
	records *layerdir.Store
	log     *slog.Logger // nil discards
	warned  sync.Map     // layers that pass has logged
	// names is held while layers are made and removed.
	names sync.Mutex
	// step is called before each step of making or removing a layer. If it returns
	// an error, the step fails with that error. It is for tests.
	step func(name string) error
	// made are the directories that opening the store made, parents first.
	made []string
}

// openStore opens the store. The caller has to close the result even after an
// error.
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

// checkPlaces returns an error if a directory of the layout is not a directory.
func (s *store) checkPlaces() error {
	var own []ownfiles.Entry
	for _, name := range []string{
		ownDir, filepath.Join(ownDir, layersDir), filepath.Join(ownDir, mountsDir), layersDir, diffDir, mntDir,
	} {
		own = append(own, ownfiles.Entry{Name: name, Dir: true})
	}
	return ownfiles.Check(s.root, own...)
}

// checkLayer checks the files of one layer in the same way.
func (s *store) checkLayer(id driver.ID) error {
	return ownfiles.Check(s.root,
		ownfiles.Entry{Name: filepath.Join(diffDir, string(id)), Dir: true},
		ownfiles.Entry{Name: filepath.Join(mntDir, string(id)), Dir: true},
		ownfiles.Entry{Name: filepath.Join(layersDir, string(id))},
	)
}

// makePlaces makes missing directories of the layout. They must be on one file
// system, because files of layers are renamed between them.
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

// unmake removes the directories that opening the store made, if the store
// cannot be used. It keeps a directory that is not empty.
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

// own returns the path of the driver's own directory, or of names in it.
func (s *store) own(names ...string) string {
	return filepath.Join(append([]string{s.root, ownDir}, names...)...)
}

// branch returns the path of a layer's branch.
func (s *store) branch(id driver.ID) string { return filepath.Join(s.root, diffDir, string(id)) }

// mnt returns the path of a layer's mount point.
func (s *store) mnt(id driver.ID) string { return filepath.Join(s.root, mntDir, string(id)) }

// parentsFile returns the path of the file that lists a layer's parents.
func (s *store) parentsFile(id driver.ID) string { return filepath.Join(s.root, layersDir, string(id)) }

// Load returns the record of a layer. For a foreign layer it makes one up. It
// returns [driver.ErrNotFound] for a layer that does not exist.
func (s *store) Load(id driver.ID) (layerdir.Meta, error) {
	m, err := s.records.Load(id)
	if errors.Is(err, driver.ErrNotFound) {
		// A layer of this driver that is being removed may have no record, see mark.
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

// Writable is Load for a layer that the caller is going to change. A layer of
// another engine is sealed and cannot be changed.
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

// ours reports whether the layer has a record, even if it is incomplete.
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

// exists reports whether path exists. It does not follow a symbolic link.
func exists(path string) (bool, error) {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// CheckParents loads the records of parents. It returns
// [driver.ErrTooManyLayers], and [driver.ErrNotFound] and [driver.ErrNotSealed]
// naming the parent.
func (s *store) CheckParents(parents []driver.ID) (layerdir.Inherited, error) {
	var none layerdir.Inherited // records of this driver have no inherited properties
	// A view has no branch of its own, so it can have one parent more. Another
	// engine may have left such a chain.
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
			return none, nil // loading a foreign layer checks all of its parents
		}
	}
	return none, nil
}

// List returns the layers that this driver made.
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

// pass logs, once for each layer, why a layer of another engine is skipped.
func (s *store) pass(ctx context.Context, id driver.ID, err error) {
	if _, again := s.warned.LoadOrStore(id, true); s.log != nil && !again {
		s.log.WarnContext(ctx, "layer of another engine passed over", "layer", id, "error", err)
	}
}

// Cleanup deletes removed layers and what interrupted calls left behind.
func (s *store) Cleanup(ctx context.Context) error {
	if err := s.records.Changeable(); err != nil {
		return err
	}
	return errors.Join(s.recover(ctx), durable.RemoveStale(filepath.Join(s.root, layersDir)), s.records.Cleanup(ctx))
}

// Close waits for background deletions.
func (s *store) Close() error {
	if s.records == nil {
		return nil
	}
	return s.records.Close()
}
