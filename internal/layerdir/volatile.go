package layerdir

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/durable"
	"github.com/layerkeep/layerkeep/internal/ownfiles"
)

// volatileName is a file in the directory of a layer that is, or was, mounted
// without syncs. It holds the ID of the boot in which that was: when the
// machine has stopped since, some of what was written may be lost, and some
// not, and nothing else tells.
const volatileName = "volatile"

// maxBootID bounds the file, in bytes; the kernel's IDs have 36.
const maxBootID = 128

// MarkVolatile says of a layer, before it is mounted without syncs, that what
// is written to it lasts until the machine stops. From then on the layer is
// torn, unless it was sealed before.
func (s *Store) MarkVolatile(id driver.ID) error {
	if err := s.own(id); err != nil {
		return err
	}
	marked, err := s.markedVolatile(id)
	if err != nil || marked != nil {
		return err
	}
	boot, err := s.bootID()
	if err != nil {
		return err
	}
	return durable.WriteFile(durable.OS(), s.Path(id, volatileName), boot, 0o600)
}

// markedVolatile returns what MarkVolatile has written, nil for nothing.
func (s *Store) markedVolatile(id driver.ID) ([]byte, error) {
	boot, err := ownfiles.Read(s.Path(id, volatileName), maxBootID)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return boot, err
}

// notStopped returns [driver.ErrTorn] for a layer that was mounted without
// syncs when the machine stopped.
func (s *Store) notStopped(id driver.ID) error {
	marked, err := s.markedVolatile(id)
	if err != nil || marked == nil {
		return err
	}
	boot, err := s.bootID()
	if err == nil && !bytes.Equal(marked, boot) {
		err = fmt.Errorf("%s: %w: it was mounted without syncs, and the machine has stopped since", id, driver.ErrTorn)
	}
	return err
}

// bootID returns what tells this run of the kernel from others.
func (s *Store) bootID() ([]byte, error) {
	boot, err := os.ReadFile(s.bootFile)
	return bytes.TrimSpace(boot), err
}
