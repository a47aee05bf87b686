package layerdir

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
)

// sync writes everything on the store's file system to disk.
//
// When the disk fails a write, the kernel says so once to each descriptor that
// was open then, and to no later one; what was not written is gone, and the
// next sync says that all is well. So one descriptor is kept from the opening
// of the store, and when it reports an error, every layer that is not sealed is
// torn from then on: which of them was hit nobody knows.
func (s *Store) sync() error {
	s.syncing.Lock()
	defer s.syncing.Unlock()
	if s.doubtful { // a failing disk may not have let the layers be marked
		if err := s.doubt(); err != nil {
			return err
		}
	}
	err := unix.Syncfs(int(s.dir.Fd()))
	if err == nil {
		return nil
	}
	return errors.Join(&os.PathError{Op: "syncfs", Path: s.root, Err: err}, s.doubt())
}

// syncLayer is sync for the sake of a layer. Returns [driver.ErrTorn] for one
// that an error, this time or before, may have hit.
func (s *Store) syncLayer(id driver.ID) error {
	if err := s.sync(); err != nil {
		return fmt.Errorf("%s: %w: %w", id, driver.ErrTorn, err)
	}
	return s.notLost(id)
}
