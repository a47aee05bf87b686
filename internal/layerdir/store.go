package layerdir

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/durable"
	"github.com/layerkeep/layerkeep/internal/rmtree"
)

const (
	newPrefix   = ".new-"
	trashPrefix = ".trash-"
	// oldPrefix begins the names of directories that another took the place of. The
	// ID of the layer follows, see oldOf.
	oldPrefix = ".old-"
)

// A Store is a directory of layers. Its methods may be called concurrently for
// different layers.
type Store struct {
	root string
	// readOnly: nothing may be changed, see OpenReadOnly.
	readOnly bool
	// remove deletes a directory with all that is in it.
	remove func(dir string) error
	// settle puts the names of layers on disk; nil syncs the directory.
	settle func(dir *os.File) error

	// dir is open as long as the store is, see sync.
	dir *os.File
	// lenders are other stores, by the prefix that their layers have here, see
	// Borrow.
	lenders map[string]lender
	// syncing is held while dir is synced and what its answer means is written
	// down.
	syncing sync.Mutex
	// doubtful: that could not be written down, see doubt; guarded by syncing.
	doubtful bool
	// lost counts the errors of sync.
	lost atomic.Int64
	// leftovers: something could not be deleted.
	leftovers atomic.Bool
	// swept: no killed process has left a temporary file in a layer, see sweep.
	swept atomic.Bool
	// unsynced: a layer was removed, and that could not be put on disk.
	unsynced atomic.Bool

	mu    sync.Mutex
	torn  map[driver.ID]bool            // layers that were marked as torn, or should have been
	inUse map[string]bool               // names of directories that Staging made and still needs
	notes map[driver.ID]json.RawMessage // for the records of layers that are to be sealed
	// below is a directory in that of a layer that is the backend's own, too.
	below string
	// plainOnes are the layers whose directories were looked at, see Plain.
	plainOnes map[driver.ID]bool
	// most is how many layers can be stacked, 0 for any number.
	most int
	// bootFile is where the kernel tells this run of it from others.
	bootFile string
	// sealed has the records of sealed layers that were parents.
	sealed map[driver.ID]sealedRecord

	background sync.WaitGroup
}

// Open opens the store in root, an absolute path, creating it when missing. Its
// mode is 0700, and nothing that it has from above goes on to the layers.
func Open(root string) (*Store, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, err
	}
	dir, err := os.OpenFile(root, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	if err := disinherit(dir); err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	return newStore(root, dir), nil
}

// newStore returns the store of an open directory.
func newStore(root string, dir *os.File) *Store {
	return &Store{
		root: root, remove: rmtree.Remove, dir: dir,
		torn: map[driver.ID]bool{}, inUse: map[string]bool{}, notes: map[driver.ID]json.RawMessage{}, sealed: map[driver.ID]sealedRecord{},
		plainOnes: map[driver.ID]bool{}, bootFile: "/proc/sys/kernel/random/boot_id",
	}
}

// OwnBelow says that a directory of a layer has directories and files of the
// backend's own in it, and nothing of the layer's; before the store is used.
func (s *Store) OwnBelow(name string) { s.below = name }

// StackAtMost says how many parents a layer can have, for CheckParents, and so
// that one with as many is not sealed; before the store is used.
func (s *Store) StackAtMost(layers int) { s.most = layers }

// DeleteWith makes the store delete directories with remove instead of
// [rmtree.Remove], whose contract it has to keep; before the store is used.
func (s *Store) DeleteWith(remove func(dir string) error) { s.remove = remove }

// SettleWith makes the store put the names of its layers on disk with settle,
// which gets the store's directory, instead of syncing that; before the store
// is used.
func (s *Store) SettleWith(settle func(dir *os.File) error) { s.settle = settle }

// syncNames puts the names of layers on disk.
func (s *Store) syncNames() error {
	if s.settle != nil {
		return s.settle(s.dir)
	}
	return durable.OS().SyncDir(s.root)
}

// Close waits until what was removed is gone.
func (s *Store) Close() error {
	s.background.Wait()
	if s.dir == nil { // it is missing, see OpenReadOnly
		return nil
	}
	if err := s.dir.Close(); !errors.Is(err, fs.ErrClosed) {
		return err
	}
	return nil
}

// Root returns the store's directory.
func (s *Store) Root() string { return s.root }

// Path returns the path of a layer's directory, or of a name in it.
func (s *Store) Path(id driver.ID, names ...string) string {
	if from, there, ok := s.lent(id); ok {
		return filepath.Join(append([]string{from.dir, string(there)}, names...)...)
	}
	return filepath.Join(append([]string{s.root, string(id)}, names...)...)
}

// Create makes a layer: fill puts what the backend needs into a directory that
// becomes the layer's, with meta, once fill returns nil. Returns
// [driver.ErrExists] when there is one, and leaves nothing behind on an error.
func (s *Store) Create(id driver.ID, meta Meta, fill func(dir string) error) (err error) {
	return s.CreateWith(id, &meta, fill)
}

// CreateWith is Create for a record that fill completes.
func (s *Store) CreateWith(id driver.ID, meta *Meta, fill func(dir string) error) (err error) {
	if err := errors.Join(s.own(id), id.Validate()); err != nil {
		return err
	}
	if _, err := os.Lstat(s.Path(id)); err == nil {
		return fmt.Errorf("%s: %w", id, driver.ErrExists)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	dir, done, err := s.Staging(id)
	if err != nil {
		return err
	}
	defer done()
	lost := s.lost.Load()
	if err := fill(dir); err != nil {
		return err
	}
	if err := meta.write(dir); err != nil {
		return err
	}
	if err := renameNew(dir, s.Path(id)); err != nil {
		if errors.Is(err, fs.ErrExist) {
			err = fmt.Errorf("%s: %w", id, driver.ErrExists)
		}
		return err
	}
	err = s.syncNames()
	if err == nil && s.lost.Load() != lost { // nobody marked it while it had no name
		err = s.tear(id)
	}
	if err != nil {
		return errors.Join(err, renameNew(s.Path(id), dir)) // from where done removes it
	}
	return nil
}

// Staging makes an empty directory, mode 0700, on the layers' file system. done
// removes it if it is still there under that name; an interrupted process
// leaves it to Cleanup.
func (s *Store) Staging(id driver.ID) (dir string, done func(), err error) {
	if err := s.own(id); err != nil {
		return "", nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	dir, err = os.MkdirTemp(s.root, newPrefix+string(id)+"-")
	if err != nil {
		return "", nil, err
	}
	name := filepath.Base(dir)
	s.inUse[name] = true
	return dir, func() {
		// Nothing else knows the name: if it cannot be removed now, Cleanup will.
		if s.remove(dir) != nil {
			s.leftovers.Store(true)
		}
		s.mu.Lock()
		delete(s.inUse, name)
		s.mu.Unlock()
	}, nil
}

// Remove moves a layer out of the way, durably, and deletes it in the
// background. A missing layer is no error.
func (s *Store) Remove(id driver.ID) error {
	if err := errors.Join(s.own(id), id.Validate()); err != nil {
		return err
	}
	// A rename needs no space, which a directory to move it into would: a full disk
	// must not keep anything from being removed.
	trash := filepath.Join(s.root, fmt.Sprintf("%s%s-%d", trashPrefix, id, rand.Uint64())) //nolint:gosec // no secret
	if err := renameNew(s.Path(id), trash); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return s.syncRemoved()
		}
		return fmt.Errorf("remove layer %s: %w", id, err)
	}
	s.unsynced.Store(true)
	if err := s.syncRemoved(); err != nil {
		s.leftovers.Store(true)
		return err
	}
	s.mu.Lock()
	delete(s.torn, id)
	delete(s.plainOnes, id)
	s.mu.Unlock()
	s.forgetNote(id)
	s.background.Go(func() {
		// What cannot be deleted stays under its trash name for Cleanup, which
		// reports the error.
		if s.delete(trash) != nil {
			s.leftovers.Store(true)
		}
	})
	return nil
}

// syncRemoved puts on disk what was removed. It is called again for a layer
// that is missing: an earlier call may have failed here.
func (s *Store) syncRemoved() error {
	if !s.unsynced.Swap(false) {
		return nil
	}
	err := s.syncNames()
	if err != nil {
		s.unsynced.Store(true)
	}
	return err
}

// List returns the IDs of all layers, sorted.
func (s *Store) List() ([]driver.ID, error) {
	entries, err := os.ReadDir(s.root)
	if s.dir == nil && errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var ids []driver.ID
	for _, e := range entries {
		if id := driver.ID(e.Name()); e.IsDir() && id.Validate() == nil {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// Cleanup deletes what was removed and what interrupted calls left behind.
func (s *Store) Cleanup(ctx context.Context) error {
	if err := s.Changeable(); err != nil {
		return err
	}
	s.leftovers.Store(false)
	kept, err := s.cleanup(ctx)
	if kept || err != nil {
		s.leftovers.Store(true)
	}
	return err
}

// cleanup is Cleanup; kept says that something has to be looked at again.
func (s *Store) cleanup(ctx context.Context) (kept bool, err error) {
	entries, err := os.ReadDir(s.root)
	if err != nil {
		return false, err
	}
	var errs []error
	kept = !s.sweep(ctx, entries)
	for _, e := range entries {
		if ctx.Err() != nil {
			return kept, ctx.Err()
		}
		gone, err := s.abandoned(e.Name())
		if err == nil && gone {
			err = s.delete(filepath.Join(s.root, e.Name()))
		}
		_, old := oldOf(e.Name())
		kept = kept || old && !gone
		errs = append(errs, err)
	}
	return kept, errors.Join(errs...)
}

// sweep removes the temporary files that killed processes have left in layers,
// whose records they were to become. That was before the store was opened, so
// once is enough. It reports whether all is done: a layer that cannot be read
// is no reason to keep what else there is to delete.
func (s *Store) sweep(ctx context.Context, entries []fs.DirEntry) bool {
	if s.swept.Load() {
		return true
	}
	done := true
	for _, e := range entries {
		if id := driver.ID(e.Name()); e.IsDir() && id.Validate() == nil {
			done = ctx.Err() == nil && durable.RemoveStale(s.Path(id)) == nil && done
		}
	}
	s.swept.Store(done)
	return done
}

// Leftovers reports whether something that was to be deleted is still there.
func (s *Store) Leftovers() bool { return s.leftovers.Load() }

// delete deletes a directory with all that is in it, but not through a mount.
func (s *Store) delete(path string) error {
	if err := unmountBelow(path); err != nil {
		return err
	}
	return s.remove(path)
}

// abandoned reports whether nobody needs a directory any more that is no layer.
func (s *Store) abandoned(name string) (bool, error) {
	s.mu.Lock()
	busy := s.inUse[name]
	s.mu.Unlock()
	switch id, old := oldOf(name); {
	case busy:
		return false, nil
	case old:
		mounted, err := s.oldMounted(name, id)
		return !mounted, err
	}
	return strings.HasPrefix(name, newPrefix) || strings.HasPrefix(name, trashPrefix), nil
}
