package layerdir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/layerkeep/layerkeep/driver"
)

// Inherited has the properties that a layer has as soon as one of its parents
// has them; see [Meta].
type Inherited struct{ Metacopy, Escaped bool }

// Inherit adds the properties of the parents to the record.
func (m *Meta) Inherit(from Inherited) {
	m.Metacopy = m.Metacopy || from.Metacopy
	m.Escaped = m.Escaped || from.Escaped
}

// A sealedRecord remembers the content of a sealed layer's record, and the file
// that it was read from.
type sealedRecord struct {
	file os.FileInfo
	says Inherited
}

// maxSealed is how many records CheckParents remembers, about 300 bytes each.
const maxSealed = 10_000

// MaxParents is the largest number of parents for backends that have no other
// limit. Every record lists all parents of its layer, so the space for all
// records grows with the square of the number of layers.
const MaxParents = 1000

// CheckDepth returns [driver.ErrTooManyLayers] for more than most parents.
func CheckDepth(parents []driver.ID, most int) error {
	if len(parents) > most {
		return fmt.Errorf("%w: %d parents, at most %d", driver.ErrTooManyLayers, len(parents), most)
	}
	return nil
}

// CheckParents returns the properties that a layer inherits from its parents.
// It returns [driver.ErrTooManyLayers] for more parents than StackAtMost
// allows, and [driver.ErrNotFound] and [driver.ErrNotSealed] naming the parent.
//
// CheckParents reads the record of a sealed layer once and remembers it, since
// it does not change. Otherwise each new layer of a large image would read the
// records of all layers below it, and each record lists all of its parents.
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
	if _, _, lent := s.lent(id); lent { // not remembered: another program could change it
		m, err := s.loadLent(id)
		return Inherited{m.Metacopy, m.Escaped}, err
	}
	// The file is checked before the record is read. So the remembered file can be
	// older than the record, which only costs another read, but never newer.
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

// isIn reports whether the remembered record was read from this file. A record
// is replaced and never overwritten, so a new record is another file or has
// another time.
func (r sealedRecord) isIn(file os.FileInfo) bool {
	return os.SameFile(r.file, file) && r.file.ModTime().Equal(file.ModTime()) && r.file.Size() == file.Size()
}
