package layerdir

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
)

// OpenReadOnly opens the store in root and changes nothing in it. A missing
// directory is a store without layers, which is what [Open] would make of it.
func OpenReadOnly(root string) (*Store, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	dir, err := os.OpenFile(root, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	s := newStore(root, dir)
	s.readOnly = true
	return s, nil
}

// OpenFor is [Open], or [OpenReadOnly] when the driver is opened for reading
// alone. The error matches [driver.ErrUnsupported] without a /proc.
func OpenFor(root string, opts driver.Options) (*Store, error) {
	if err := needProc(procSelf); err != nil {
		return nil, err
	}
	if opts.ReadOnly {
		return OpenReadOnly(root)
	}
	return Open(root)
}

// Changeable returns [driver.ErrReadOnly] for a store that was opened for
// reading alone. The methods that change something ask it themselves.
func (s *Store) Changeable() error {
	if s.readOnly {
		return driver.ErrReadOnly
	}
	return nil
}

// Remembered returns what opening found out before on this kernel. Without
// anything that can be read it returns the zero value, and known is false.
func Remembered[F any](opts driver.Options) (f F, known bool) {
	if opts.Known == nil || json.Unmarshal(opts.Known, &f) != nil {
		return *new(F), false
	}
	return f, true
}
