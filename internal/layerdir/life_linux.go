package layerdir

import (
	"errors"
	"fmt"
	"os"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/durable"
	"github.com/layerkeep/layerkeep/internal/ownfiles"
	"github.com/layerkeep/layerkeep/tar"
)

// SealWith seals a layer durably. It calls prepare, syncs the file system,
// calls settle, and writes the record with the sealed mark last. prepare and
// settle may change the record. settle sets the record's Usage and makes the
// layer immutable. SealWith may run again after an error or a crash, so both
// hooks must be repeatable.
//
// For a layer that is already sealed SealWith only syncs the record again. It
// returns [driver.ErrUnsupported] for a view, [driver.ErrTooManyLayers] for a
// layer with so many parents that no layer could have it as a parent (see
// StackAtMost), and [driver.ErrBusy] for a layer that is mounted writable. It
// returns [driver.ErrTorn] for a layer in which Merging was interrupted, or
// which was not sealed when the disk lost a write.
func (s *Store) SealWith(id driver.ID, prepare, settle func(*Meta) error) error {
	if err := s.own(id); err != nil {
		return err
	}
	m, err := s.Load(id)
	switch {
	case err != nil:
		return err
	case m.Sealed:
		return s.syncRecord(id)
	case m.View:
		return fmt.Errorf("%w: it is a view", driver.ErrUnsupported)
	case s.most > 0 && len(m.Parents) >= s.most:
		return fmt.Errorf("%w: it has %d parents, and a stack has at most %d layers", driver.ErrTooManyLayers, len(m.Parents), s.most)
	}
	if err := s.notTorn(id); err != nil {
		return err
	}
	if err := s.NotMounted(id, MountedReadOnly); err != nil {
		return err
	}
	if err := prepare(&m); err != nil {
		return err
	}
	if err := s.syncLayer(id); err != nil {
		return err
	}
	if err := durable.OS().Remove(s.Path(id, volatileName)); err != nil { // the whole layer is on disk now
		return err
	}
	if err := settle(&m); err != nil {
		return err
	}
	m.Sealed = true
	s.addNote(id, &m)
	if err := s.Save(id, m); err != nil {
		return err
	}
	s.forgetNote(id)
	return nil
}

// NotMounted returns [driver.ErrBusy] if the use of the layer is stronger than
// allowed, or if something is mounted inside the layer.
func (s *Store) NotMounted(id driver.ID, allowed Use) error {
	use, err := s.Mounted(id)
	switch {
	case err != nil:
		return err
	case use > allowed:
		return fmt.Errorf("%w: it is mounted", driver.ErrBusy)
	}
	return NothingMountedBelow(s.Path(id))
}

// RemoveIdle is Remove for a layer that is not mounted. It returns
// [driver.ErrBusy] if the layer is mounted.
func (s *Store) RemoveIdle(id driver.ID) error {
	if err := errors.Join(s.own(id), id.Validate()); err != nil {
		return err
	}
	if err := s.NotMounted(id, Unmounted); err != nil {
		return err
	}
	return s.Remove(id)
}

// Merging runs merge, which moves a delta into the layer. merge must undo its
// steps on an error, or return [tar.ErrTorn].
//
// While merge runs, a mark file is in the layer's directory. The mark stays if
// the process is killed or if merge returns [tar.ErrTorn]; the layer is then
// torn. The mark needs no sync: a power cut cannot lose the mark without also
// losing the later changes. With sync, Merging syncs the whole layer before it
// removes the mark. If that sync fails, the mark stays, too.
func (s *Store) Merging(id driver.ID, sync bool, merge func() error) error {
	if err := s.own(id); err != nil {
		return err
	}
	mark := s.Path(id, mergingName)
	f, err := ownfiles.OpenFile(mark, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err = merge(); errors.Is(err, tar.ErrTorn) {
		return err
	}
	if err != nil || !sync {
		return errors.Join(err, unmark(mark))
	}
	if err := s.syncLayer(id); err != nil {
		return asTorn(err) // it is unknown what is on disk, so the mark stays
	}
	if err := unmark(mark); err != nil {
		return err
	}
	return durable.OS().SyncDir(s.Path(id))
}

// unmark removes the mark file of Merging. If that fails, the layer is torn
// from then on.
func unmark(mark string) error {
	return asTorn(os.Remove(mark))
}

// asTorn makes an error match [driver.ErrTorn].
func asTorn(err error) error {
	if err == nil || errors.Is(err, driver.ErrTorn) {
		return err
	}
	return fmt.Errorf("%w: %w", driver.ErrTorn, err)
}

// OpenStaging is Staging, and also opens the directory. done closes and removes
// it.
func (s *Store) OpenStaging(id driver.ID) (staging *os.File, done func(), err error) {
	dir, remove, err := s.Staging(id)
	if err != nil {
		return nil, nil, err
	}
	f, err := os.Open(dir)
	if err != nil {
		remove()
		return nil, nil, err
	}
	return f, func() { f.Close(); remove() }, nil
}
