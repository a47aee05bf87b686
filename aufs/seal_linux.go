package aufs

import (
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/layerdir"
)

// SealWith seals a layer like [layerdir.Store.SealWith]. It also checks that no
// aufs writes to the branch and that nothing is mounted inside it. It does
// nothing for a layer of another engine, which is sealed.
func (s *store) SealWith(id driver.ID, prepare, settle func(*layerdir.Meta) error) error {
	if err := s.Changeable(); err != nil {
		return err
	}
	m, err := s.Load(id)
	if err != nil {
		return err
	}
	if m.Sealed {
		if ours, err := s.ours(id); err != nil || !ours {
			return err
		}
	} else {
		if err := s.notBranch(id, layerdir.MountedReadOnly); err != nil {
			return err
		}
		if err := layerdir.NothingMountedBelow(s.branch(id)); err != nil {
			return err
		}
	}
	return s.records.SealWith(id, prepare, settle)
}

// Changeable returns [driver.ErrReadOnly] for a store that was opened
// read-only.
func (s *store) Changeable() error { return s.records.Changeable() }

// Merging calls [layerdir.Store.Merging].
func (s *store) Merging(id driver.ID, sync bool, merge func() error) error {
	return s.records.Merging(id, sync, merge)
}
