package layerdir

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/ownfiles"
)

// Plain looks at a layer's directory before the first use of the layer: it must
// be a directory, and have nothing but directories and files in it. Whoever has
// prepared a store could have a link lead anywhere, and that would be mounted
// into a container. What comes later is our own. The error matches
// [ownfiles.ErrUnsafe], or [driver.ErrNotFound] where there is no directory.
// Who uses the directory without its record asks it.
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

// plainParents is Plain for parents, of which each is mounted, or read, with
// the layer. One that is missing is for others to find.
func (s *Store) plainParents(parents []driver.ID) error {
	for _, p := range parents {
		if err := s.Plain(p); err != nil && !errors.Is(err, driver.ErrNotFound) {
			return err
		}
	}
	return nil
}

// maxPlain is how many layers are remembered, some 100 bytes each.
const maxPlain = 10_000
