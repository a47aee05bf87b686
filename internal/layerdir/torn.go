package layerdir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/durable"
	"github.com/layerkeep/layerkeep/internal/ownfiles"
)

// notTorn returns [driver.ErrTorn] for a torn layer: Merging was interrupted in
// it, or it was not sealed when the disk lost a write, or the machine stopped
// while it had a volatile mount.
func (s *Store) notTorn(id driver.ID) error {
	if err := s.unmarked(id, mergingName); err != nil {
		return err
	}
	if err := s.notStopped(id); err != nil {
		return err
	}
	return s.notLost(id)
}

// notLost returns [driver.ErrTorn] for a layer that was not sealed when the
// disk lost a write.
func (s *Store) notLost(id driver.ID) error {
	s.mu.Lock()
	torn := s.torn[id]
	s.mu.Unlock()
	if torn {
		return fmt.Errorf("%s: %w", id, driver.ErrTorn)
	}
	return s.unmarked(id, tornName)
}

func (s *Store) unmarked(id driver.ID, name string) error {
	_, err := os.Lstat(s.Path(id, name))
	if err == nil {
		return fmt.Errorf("%s: %w", id, driver.ErrTorn)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Renew saves m as the record of a layer whose content is new, durably. It
// removes the marks that belonged to the old content.
func (s *Store) Renew(id driver.ID, m Meta) error {
	if err := s.own(id); err != nil {
		return err
	}
	for _, name := range []string{mergingName, tornName, volatileName} {
		if err := durable.OS().Remove(s.Path(id, name)); err != nil {
			return err
		}
	}
	if err := s.Save(id, m); err != nil {
		return err
	}
	s.mu.Lock()
	delete(s.torn, id)
	delete(s.plainOnes, id)
	s.mu.Unlock()
	s.forgetNote(id)
	return nil
}

// doubt marks all layers that are not sealed as torn. List does not return a
// layer that is still being made; Create compares lost at its end and marks
// such a layer itself. If a layer could not be marked, doubtful stays true. The
// caller holds syncing.
func (s *Store) doubt() (err error) {
	s.lost.Add(1)
	defer func() { s.doubtful = err != nil }()
	ids, err := s.List()
	errs := []error{err}
	for _, id := range ids {
		if m, err := s.Load(id); err == nil && (m.Sealed || m.View) {
			continue
		}
		errs = append(errs, s.tear(id))
	}
	return errors.Join(errs...)
}

// tear marks a layer as torn, in this process and on disk. The disk has just
// failed, so tear creates the mark before it tries to sync it.
func (s *Store) tear(id driver.ID) error {
	if err := s.own(id); err != nil {
		return err
	}
	s.mu.Lock()
	s.torn[id] = true
	s.mu.Unlock()
	f, err := ownfiles.OpenFile(s.Path(id, tornName), os.O_CREATE|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrNotExist) { // it was removed meanwhile
		return nil
	}
	if err == nil {
		err = errors.Join(f.Sync(), f.Close(), durable.OS().SyncDir(s.Path(id)))
	}
	if err != nil {
		return fmt.Errorf("mark layer %s as torn: %w", id, err)
	}
	return nil
}
