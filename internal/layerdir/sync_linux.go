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
// When the disk loses a write, the kernel reports the error once to each
// descriptor that was open at that time, and never to a descriptor that is
// opened later. The lost data is gone, and the next sync succeeds. So the store
// keeps one descriptor from its opening on. When that descriptor reports an
// error, every layer that is not sealed becomes torn, because it is unknown
// which layers lost data.
func (s *Store) sync() error {
	s.syncing.Lock()
	defer s.syncing.Unlock()
	if s.doubtful { // an earlier call could not mark all layers, because the disk failed
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

// syncLayer calls sync for one layer. It returns [driver.ErrTorn] if this or an
// earlier write error may have hit the layer.
func (s *Store) syncLayer(id driver.ID) error {
	if err := s.sync(); err != nil {
		return fmt.Errorf("%s: %w: %w", id, driver.ErrTorn, err)
	}
	return s.notLost(id)
}
