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

// SealWith writes the file system to disk and then, last, the mark that the
// layer is sealed. For a layer that is sealed already only that mark is put on
// disk once more. prepare is called before, with the record, which it may
// change. settle is called when everything is on disk; it sets the record's
// Usage and does what makes the layer immutable. What they do must be
// repeatable. Idempotent. Returns [driver.ErrUnsupported] for a view,
// [driver.ErrTooManyLayers] for a layer on which none could stand, see
// StackAtMost, [driver.ErrBusy] for a layer that is mounted writable and
// [driver.ErrTorn] for one in which Merging was interrupted, or that was not
// sealed when the disk failed a write.
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
	if err := durable.OS().Remove(s.Path(id, volatileName)); err != nil { // all of it is on disk now
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

// NotMounted returns [driver.ErrBusy] when the layer is mounted in a way that
// is more than allowed, and when something is mounted in it.
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

// RemoveIdle is Remove for a layer that nothing has mounted; returns
// [driver.ErrBusy] for another.
func (s *Store) RemoveIdle(id driver.ID) error {
	if err := errors.Join(s.own(id), id.Validate()); err != nil {
		return err
	}
	if err := s.NotMounted(id, Unmounted); err != nil {
		return err
	}
	return s.Remove(id)
}

// Merging runs merge, which moves something into the layer, whole or not at all
// unless it says [tar.ErrTorn]. A file in the layer says meanwhile that it is
// under way: found later, it says that the process did not live to the end. It
// need not be synced, as it cannot get lost in a power cut without what came
// after it. With sync, all of the layer is on disk before that file goes.
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
		return asTorn(err) // what the disk holds is not known, so it stays marked
	}
	if err := unmark(mark); err != nil {
		return err
	}
	return durable.OS().SyncDir(s.Path(id))
}

// unmark removes the file by which Merging says that it is under way. Where
// that fails, the layer is torn for everybody from then on.
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

// OpenStaging is Staging for a directory that is opened. done closes and
// removes it.
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
