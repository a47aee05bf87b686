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

// volatileName is a file in the directory of a layer that has or had a volatile
// mount. It holds the ID of the boot at the time of that mount. If the machine
// has stopped since, an unknown part of the written data may be lost, and only
// this file tells.
const volatileName = "volatile"

// maxBootID limits the size of the file, in bytes. A boot ID of the kernel has
// 36.
const maxBootID = 128

// MarkVolatile marks a layer before it is mounted volatile. If the machine
// stops, the layer is torn, unless it was sealed before.
func (s *Store) MarkVolatile(id driver.ID) error {
	if err := s.own(id); err != nil {
		return err
	}
	marked, _, err := s.volatile(id)
	if err != nil || marked {
		return err
	}
	boot, err := s.bootID()
	if err != nil {
		return err
	}
	return durable.WriteFile(durable.OS(), s.Path(id, volatileName), boot, 0o600)
}

// volatile reports whether MarkVolatile has marked a layer, and whether the
// machine has stopped since.
func (s *Store) volatile(id driver.ID) (marked, stopped bool, err error) {
	mark, err := ownfiles.Read(s.Path(id, volatileName), maxBootID)
	if errors.Is(err, fs.ErrNotExist) {
		return false, false, nil
	}
	if err != nil {
		return false, false, err
	}
	boot, err := s.bootID()
	return true, !bytes.Equal(mark, boot), err
}

// notStopped returns [driver.ErrTorn] for a layer that had a volatile mount
// when the machine stopped.
func (s *Store) notStopped(id driver.ID) error {
	_, stopped, err := s.volatile(id)
	if err == nil && stopped {
		err = fmt.Errorf("%s: %w: it was mounted without syncs, and the machine has stopped since", id, driver.ErrTorn)
	}
	return err
}

// bootID returns the kernel's boot ID, which is new at every boot.
func (s *Store) bootID() ([]byte, error) {
	boot, err := os.ReadFile(s.bootFile)
	return bytes.TrimSpace(boot), err
}
