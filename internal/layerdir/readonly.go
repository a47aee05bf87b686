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

// OpenReadOnly opens the store in root and changes nothing in it. If the
// directory is missing, the store has no layers; [Open] would make an empty
// store.
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

// OpenFor calls [OpenReadOnly] if opts.ReadOnly is set, and [Open] otherwise.
// The error matches [driver.ErrUnsupported] if there is no /proc.
func OpenFor(root string, opts driver.Options) (*Store, error) {
	if err := needProc(procSelf); err != nil {
		return nil, err
	}
	if opts.ReadOnly {
		return OpenReadOnly(root)
	}
	return Open(root)
}

// Changeable returns [driver.ErrReadOnly] for a store that was opened
// read-only. The methods that change something call it themselves.
func (s *Store) Changeable() error {
	if s.readOnly {
		return driver.ErrReadOnly
	}
	return nil
}

// Remembered returns the facts that an earlier open found out on this kernel.
// If there are none, or they cannot be decoded, it returns the zero value, and
// known is false.
func Remembered[F any](opts driver.Options) (f F, known bool) {
	if opts.Known == nil || json.Unmarshal(opts.Known, &f) != nil {
		return *new(F), false
	}
	return f, true
}
