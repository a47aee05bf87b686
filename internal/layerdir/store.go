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
	// oldPrefix starts the names of directories that were replaced. The layer's ID
	// follows; see oldOf.
	oldPrefix = ".old-"
)

// A Store is a directory of layers. Its methods may be called concurrently for
// different layers.
type Store struct {
	root string
	// readOnly says that the store may not be changed; see OpenReadOnly.
	readOnly bool
	// remove deletes a directory and everything in it.
	remove func(dir string) error
	// settle syncs the names of the layers. If it is nil, the store's directory is
	// synced.
	settle func(dir *os.File) error

	// dir is open as long as the store is open; see sync.
	dir *os.File
	// lenders are the stores that lend layers, by the prefix of their layers' IDs
	// in this store; see Borrow.
	lenders map[string]lender
	// syncing is held while dir is synced and layers are marked after a sync error.
	syncing sync.Mutex
	// doubtful says that some layers could not be marked as torn; see doubt.
	// syncing guards it.
	doubtful bool
	// lost counts the times that doubt ran, which is after each error of sync.
	lost atomic.Int64
	// leftovers says that something could not be deleted.
	leftovers atomic.Bool
	// swept says that no layer has a temporary file of a killed process; see sweep.
	swept atomic.Bool
	// unsynced says that a layer was removed and the removal is not synced yet.
	unsynced atomic.Bool

	mu    sync.Mutex
	torn  map[driver.ID]bool            // layers that are marked as torn, or that could not be marked
	inUse map[string]bool               // directories in use that Cleanup must not delete
	notes map[driver.ID]json.RawMessage // notes for the records of layers that are not sealed yet
	// below is a directory in each layer that, like the layer's own directory, has
	// only files of the backend; see OwnBelow.
	below string
	// plainOnes are the layers that Plain has checked.
	plainOnes map[driver.ID]bool
	// most is how many layers can be stacked. 0 means any number.
	most int
	// bootFile is the file with the kernel's boot ID, which is new at every boot.
	bootFile string
	// sealed remembers the records of sealed layers that were checked as parents.
	sealed map[driver.ID]sealedRecord

	background sync.WaitGroup
}

// Open opens the store in root, and creates the directory if it is missing. The
// directory gets the mode 0700. Layers do not inherit ACLs or the group of the
// directories above the store.
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

// OwnBelow says that the directory called name in each layer has only
// directories and files of the backend, and no files of the layer. Call it
// before the store is used.
func (s *Store) OwnBelow(name string) { s.below = name }

// StackAtMost sets how many layers can be stacked. CheckParents refuses more
// parents, and SealWith refuses a layer with that many parents, which could not
// be a parent itself. Call StackAtMost before the store is used.
func (s *Store) StackAtMost(layers int) { s.most = layers }

// DeleteWith makes the store delete directories with remove instead of
// [rmtree.Remove]. remove has to keep the contract of [rmtree.Remove]. Call
// DeleteWith before the store is used.
func (s *Store) DeleteWith(remove func(dir string) error) { s.remove = remove }

// SettleWith makes the store call settle with the store's directory when the
// names of its layers have to be on disk. Without SettleWith the store syncs
// that directory. Call it before the store is used.
func (s *Store) SettleWith(settle func(dir *os.File) error) { s.settle = settle }

// syncNames makes the names of the layers durable.
func (s *Store) syncNames() error {
	if s.settle != nil {
		return s.settle(s.dir)
	}
	return durable.OS().SyncDir(s.root)
}

// Close waits for background deletions and closes the store.
func (s *Store) Close() error {
	s.background.Wait()
	if s.dir == nil { // the store's directory is missing, see OpenReadOnly
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

// Create makes a layer with the record meta. fill puts the backend's files into
// a directory, which becomes the layer's directory after fill returns nil.
// Create returns [driver.ErrExists] if the layer exists. On an error it leaves
// nothing behind.
func (s *Store) Create(id driver.ID, meta Meta, fill func(dir string) error) (err error) {
	return s.CreateWith(id, &meta, fill)
}

// CreateWith is Create with a record that fill may still change.
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
	if err == nil && s.lost.Load() != lost { // doubt could not mark this layer, which had no name yet
		err = s.tear(id)
	}
	if err != nil {
		return errors.Join(err, renameNew(s.Path(id), dir)) // done then removes the directory
	}
	return nil
}

// Staging makes an empty directory with mode 0700 on the file system of the
// layers. done removes the directory unless it was renamed. If the process is
// killed, Cleanup removes it.
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
		// If the directory cannot be removed now, Cleanup will remove it: no other code
		// knows its name.
		if s.remove(dir) != nil {
			s.leftovers.Store(true)
		}
		s.mu.Lock()
		delete(s.inUse, name)
		s.mu.Unlock()
	}, nil
}

// Remove renames a layer to a trash name durably and deletes it in the
// background. It returns nil for a layer that is missing.
func (s *Store) Remove(id driver.ID) error {
	if err := errors.Join(s.own(id), id.Validate()); err != nil {
		return err
	}
	// A rename within the directory needs no disk space, so layers can be removed
	// on a full disk. A separate trash directory would need space.
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
		// If the deletion fails, the directory keeps its trash name. Cleanup tries
		// again and reports the error.
		if s.delete(trash) != nil {
			s.leftovers.Store(true)
		}
	})
	return nil
}

// syncRemoved makes removals durable. Remove calls it again for a missing
// layer, because an earlier call may have failed to sync.
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

// Cleanup deletes removed layers and what interrupted calls left behind.
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

// cleanup is Cleanup. kept says that a later Cleanup has to look at something
// again.
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

// sweep removes temporary files that killed processes left in the directories
// of layers while they wrote records. Such files are older than this open
// store, so sweep does its work only once. It returns whether the work is
// complete. It does not return errors: a layer that cannot be read must not
// keep Cleanup from deleting other things.
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

// Leftovers reports whether something that has to be deleted may still exist.
func (s *Store) Leftovers() bool { return s.leftovers.Load() }

// delete deletes a directory and everything in it. It unmounts mounts below the
// directory first, so that it deletes nothing through a mount.
func (s *Store) delete(path string) error {
	if err := unmountBelow(path); err != nil {
		return err
	}
	return s.remove(path)
}

// abandoned reports whether a directory that is not a layer can be deleted.
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
