package layerdir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/layerkeep/layerkeep/driver"
)

// Inherited is what is so for a layer as soon as it is so for one of its
// parents; see [Meta].
type Inherited struct{ Metacopy, Escaped bool }

// Inherit adds what is so for the parents.
func (m *Meta) Inherit(from Inherited) {
	m.Metacopy = m.Metacopy || from.Metacopy
	m.Escaped = m.Escaped || from.Escaped
}

// A sealedRecord is what a sealed layer's record says, and which file that was.
type sealedRecord struct {
	file os.FileInfo
	says Inherited
}

// maxSealed is how many records CheckParents remembers, some 300 bytes each.
const maxSealed = 10_000

// MaxParents is how many parents a layer can have where nothing else bounds
// them: a layer's record names all of its parents, so what they take grows with
// the square of their number.
const MaxParents = 1000

// CheckDepth returns [driver.ErrTooManyLayers] for more parents than can be
// stacked.
func CheckDepth(parents []driver.ID, most int) error {
	if len(parents) > most {
		return fmt.Errorf("%w: %d parents, at most %d", driver.ErrTooManyLayers, len(parents), most)
	}
	return nil
}

// CheckParents returns what a layer has from its parents. Returns
// [driver.ErrTooManyLayers] for more than StackAtMost says,
// [driver.ErrNotFound] and [driver.ErrNotSealed] naming the parent. As the
// record of a sealed layer does not change, it is read once: otherwise an image
// of many layers would have the records of all, each with a list of all below
// it, read for each.
func (s *Store) CheckParents(parents []driver.ID) (Inherited, error) {
	if s.most > 0 {
		if err := CheckDepth(parents, s.most); err != nil {
			return Inherited{}, err
		}
	}
	var all Meta
	for _, p := range parents {
		says, err := s.checkParent(p)
		if err != nil {
			return Inherited{}, fmt.Errorf("parent %w", err)
		}
		all.Inherit(says)
	}
	return Inherited{all.Metacopy, all.Escaped}, nil
}

func (s *Store) checkParent(id driver.ID) (Inherited, error) {
	if err := id.Validate(); err != nil {
		return Inherited{}, err
	}
	if _, _, lent := s.lent(id); lent { // another program could change it
		m, err := s.loadLent(id)
		return Inherited{m.Metacopy, m.Escaped}, err
	}
	// Asked before it is read, so that what is remembered can be too old, not too
	// new.
	file, err := os.Stat(s.Path(id, RecordName))
	if errors.Is(err, fs.ErrNotExist) {
		return Inherited{}, fmt.Errorf("%s: %w", id, driver.ErrNotFound)
	}
	if err != nil {
		return Inherited{}, err
	}
	s.mu.Lock()
	known, ok := s.sealed[id]
	s.mu.Unlock()
	if ok && known.isIn(file) {
		return known.says, nil
	}
	m, err := s.Load(id)
	if err != nil {
		return Inherited{}, err
	}
	if !m.Sealed {
		return Inherited{}, fmt.Errorf("%s: %w", id, driver.ErrNotSealed)
	}
	says := Inherited{m.Metacopy, m.Escaped}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.sealed) >= maxSealed {
		clear(s.sealed)
	}
	s.sealed[id] = sealedRecord{file, says}
	return says, nil
}

// isIn reports whether the record is that in a file. A record is replaced, not
// overwritten, so another one is another file or has another time.
func (r sealedRecord) isIn(file os.FileInfo) bool {
	return os.SameFile(r.file, file) && r.file.ModTime().Equal(file.ModTime()) && r.file.Size() == file.Size()
}
