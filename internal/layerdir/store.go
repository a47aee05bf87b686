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

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/durable"
)

const (
	newPrefix   = ".new-"
	trashPrefix = ".trash-"
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
	// syncing is held while dir is synced and what its answer means is written down.
	syncing sync.Mutex
	// lost counts the errors of sync.
	lost atomic.Int64

	mu    sync.Mutex
	torn  map[driver.ID]bool            // layers that were marked as torn, or should have been
	inUse map[string]bool               // names of directories that Staging made and still needs
	notes map[driver.ID]json.RawMessage // for the records of layers that are to be sealed
	// sealed has the records of sealed layers that were parents.
	sealed map[driver.ID]sealedRecord

	background sync.WaitGroup
}

// Open opens the store in root, an absolute path, creating it with mode 0700
// when missing.
func Open(root string) (*Store, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, err
	}
	dir, err := os.Open(root)
	if err != nil {
		return nil, err
	}
	return newStore(root, dir), nil
}

// newStore returns the store of an open directory.
func newStore(root string, dir *os.File) *Store {
	return &Store{
		root: root, remove: RemoveAll, dir: dir,
		torn: map[driver.ID]bool{}, inUse: map[string]bool{}, notes: map[driver.ID]json.RawMessage{}, sealed: map[driver.ID]sealedRecord{},
	}
}

// DeleteWith makes the store delete directories with remove instead of
// [os.RemoveAll], whose contract it has to keep; before the store is used.
func (s *Store) DeleteWith(remove func(dir string) error) { s.remove = remove }

// SettleWith makes the store put the names of its layers on disk with settle, which gets
// the store's directory, instead of syncing that; before the store is used.
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
	return filepath.Join(append([]string{s.root, string(id)}, names...)...)
}

// Create makes a layer: fill puts what the backend needs into a directory that
// becomes the layer's, with meta, once fill returns nil. Returns
// [driver.ErrExists] when there is one, and leaves nothing behind on an error.
func (s *Store) Create(id driver.ID, meta Meta, fill func(dir string) error) (err error) {
	if err := errors.Join(s.Changeable(), id.Validate()); err != nil {
		return err
	}
	if _, err := os.Lstat(s.Path(id)); err == nil {
		return fmt.Errorf("%s: %w", id, driver.ErrExists)
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
	if err := s.syncNames(); err != nil {
		return err
	}
	if s.lost.Load() != lost { // nobody marked it while it had no name
		return s.tear(id)
	}
	return nil
}

// Staging makes an empty directory, mode 0700, on the layers' file system. done
// removes it if it is still there under that name; an interrupted process leaves
// it to Cleanup.
func (s *Store) Staging(id driver.ID) (dir string, done func(), err error) {
	if err := s.Changeable(); err != nil {
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
		_ = s.remove(dir)
		s.mu.Lock()
		delete(s.inUse, name)
		s.mu.Unlock()
	}, nil
}

// Remove moves a layer out of the way, durably, and deletes it in the
// background. A missing layer is no error.
func (s *Store) Remove(id driver.ID) error {
	if err := errors.Join(s.Changeable(), id.Validate()); err != nil {
		return err
	}
	// A rename needs no space, which a directory to move it into would: a full disk
	// must not keep anything from being removed.
	trash := filepath.Join(s.root, fmt.Sprintf("%s%s-%d", trashPrefix, id, rand.Uint64())) //nolint:gosec // no secret
	if err := renameNew(s.Path(id), trash); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return fmt.Errorf("remove layer %s: %w", id, err)
	}
	if err := s.syncNames(); err != nil {
		return err
	}
	s.mu.Lock()
	delete(s.torn, id)
	s.mu.Unlock()
	s.forgetNote(id)
	s.background.Go(func() {
		// What cannot be deleted stays under its trash name for Cleanup, which
		// reports the error.
		_ = s.delete(trash)
	})
	return nil
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
	entries, err := os.ReadDir(s.root)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if s.abandoned(e.Name()) {
			errs = append(errs, s.delete(filepath.Join(s.root, e.Name())))
		}
	}
	return errors.Join(errs...)
}

// delete deletes a directory with all that is in it, but not through a mount.
func (s *Store) delete(path string) error {
	if err := unmountBelow(path); err != nil {
		return err
	}
	return s.remove(path)
}

func (s *Store) abandoned(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	ours := strings.HasPrefix(name, newPrefix) || strings.HasPrefix(name, trashPrefix)
	return ours && !s.inUse[name]
}
