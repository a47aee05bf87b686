package layerdir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"github.com/layerkeep/layerkeep/driver"
)

// A Replacer implements [driver.Replacer] for a driver that has a Store and
// whose layers are whole directories in it.
type Replacer struct {
	store  *Store
	driver string // the driver's name, for errors
}

// Replacer returns the [driver.Replacer] for the driver with the given name.
func (s *Store) Replacer(driver string) Replacer { return Replacer{s, driver} }

// Replace implements [driver.Replacer].
func (r Replacer) Replace(ctx context.Context, id, made driver.ID) error {
	err := ctx.Err()
	if err == nil {
		err = r.store.Replace(id, made)
	}
	if err != nil {
		return fmt.Errorf("%s: replace layer %s: %w", r.driver, id, err)
	}
	return nil
}

// Replace replaces the directory of the layer id by the directory of the sealed
// layer made.
//
// Replace first renames the new directory to a name with the prefix .old-,
// which Cleanup deletes. Then it exchanges the two directories in one step. So
// a directory id exists at every moment. After a crash at any point, Cleanup
// deletes the directory under the .old- name, whether it is the old or the new
// one.
func (s *Store) Replace(id, made driver.ID) error {
	if err := errors.Join(s.own(id), s.own(made), id.Validate(), made.Validate()); err != nil {
		return err
	}
	m, err := s.Load(made)
	switch {
	case err != nil:
		return err
	case !m.Sealed:
		return fmt.Errorf("%s: %w", made, driver.ErrNotSealed)
	}
	if err := s.NotMounted(made, Unmounted); err != nil {
		return err
	}
	if _, err = os.Lstat(s.Path(id)); errors.Is(err, fs.ErrNotExist) {
		err = renameNew(s.Path(made), s.Path(id))
	} else if err == nil {
		err = s.exchange(id, made)
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	delete(s.torn, id)
	s.mu.Unlock()
	return s.syncNames()
}

// exchange is Replace for a layer id whose directory exists.
func (s *Store) exchange(id, made driver.ID) error {
	if err := s.NotMounted(id, MountedReadOnly); err != nil {
		return err
	}
	name := fmt.Sprintf("%s%s-%d", oldPrefix, id, rand.Uint64()) //nolint:gosec // no secret
	beside := filepath.Join(s.root, name)
	s.setInUse(name, true) // keeps a concurrent Cleanup from deleting it
	defer s.setInUse(name, false)
	if err := renameNew(s.Path(made), beside); err != nil {
		return err
	}
	err := s.syncNames()
	if err == nil {
		err = Exchange(beside, s.Path(id))
	}
	if err != nil {
		return errors.Join(err, renameNew(beside, s.Path(made)))
	}
	s.leftovers.Store(true) // Cleanup has to delete the old directory
	return nil
}

func (s *Store) setInUse(name string, inUse bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if inUse {
		s.inUse[name] = true
	} else {
		delete(s.inUse, name)
	}
}

// oldOf returns the ID of the layer whose replaced directory has this name.
func oldOf(name string) (driver.ID, bool) {
	rest, ok := strings.CutPrefix(name, oldPrefix)
	cut := strings.LastIndexByte(rest, '-')
	if !ok || cut <= 0 {
		return "", false
	}
	return driver.ID(rest[:cut]), true
}
