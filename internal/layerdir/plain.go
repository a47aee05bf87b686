package layerdir

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/ownfiles"
)

// Plain checks a layer's directory before the first use of the layer. It must
// be a directory and contain only directories and files. The maker of a store
// could have put symbolic links there that lead anywhere, and a mount would
// show their targets in a container. Later changes are made by this module and
// need no check.
//
// The error matches [ownfiles.ErrUnsafe], or [driver.ErrNotFound] if there is
// no directory. Load calls Plain. A caller that uses the directory without its
// record calls it directly.
func (s *Store) Plain(id driver.ID) error {
	s.mu.Lock()
	known := s.plainOnes[id]
	s.mu.Unlock()
	if known {
		return nil
	}
	path := s.Path(id)
	err := ownfiles.Check(filepath.Dir(path), ownfiles.Entry{Name: filepath.Base(path), Dir: true})
	if err == nil {
		err = ownfiles.CheckAll(path)
	}
	if err == nil && s.below != "" {
		err = ownfiles.CheckAll(filepath.Join(path, s.below))
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w", id, driver.ErrNotFound)
	}
	if err != nil {
		return fmt.Errorf("layer %s: %w", id, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.plainOnes) >= maxPlain {
		clear(s.plainOnes)
	}
	s.plainOnes[id] = true
	return nil
}

// plainParents is Plain for the parents of a layer, which are mounted or read
// together with the layer. It ignores a missing parent; the use of that parent
// reports it.
func (s *Store) plainParents(parents []driver.ID) error {
	for _, p := range parents {
		if err := s.Plain(p); err != nil && !errors.Is(err, driver.ErrNotFound) {
			return err
		}
	}
	return nil
}

// maxPlain is how many layers Plain remembers, about 100 bytes each.
const maxPlain = 10_000
