package layerdir

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/layerkeep/layerkeep/driver"
)

// A Recorder implements [driver.Recorder] for a driver that has a Store.
type Recorder struct {
	store  *Store
	driver string // the driver's name, for errors
}

// Recorder returns the [driver.Recorder] for the driver with the given name.
func (s *Store) Recorder(driver string) Recorder { return Recorder{s, driver} }

// Record implements [driver.Recorder].
func (r Recorder) Record(_ context.Context, id driver.ID) (driver.Record, error) {
	record, err := r.store.Record(id)
	if err != nil {
		err = fmt.Errorf("%s: record of layer %s: %w", r.driver, id, err)
	}
	return record, err
}

// Note implements [driver.Recorder].
func (r Recorder) Note(_ context.Context, id driver.ID, note json.RawMessage) error {
	return r.noted(id, r.store.Note(id, note))
}

// NoteNow implements [driver.Recorder].
func (r Recorder) NoteNow(_ context.Context, id driver.ID, note json.RawMessage) error {
	return r.noted(id, r.store.NoteNow(id, note))
}

func (r Recorder) noted(id driver.ID, err error) error {
	if err != nil {
		err = fmt.Errorf("%s: note on layer %s: %w", r.driver, id, err)
	}
	return err
}

// Record returns the record of a layer.
func (s *Store) Record(id driver.ID) (driver.Record, error) {
	m, err := s.Load(id)
	if err != nil {
		return driver.Record{}, err
	}
	r := driver.Record{Parents: m.Parents, View: m.View, Sealed: m.Sealed, Note: m.Note}
	if m.Sealed || m.View {
		return r, nil
	}
	err = s.notTorn(id)
	if r.Torn = errors.Is(err, driver.ErrTorn); r.Torn {
		err = nil
	}
	return r, err
}

// Note puts a note of the caller into the record of a layer. For a sealed layer
// it writes the record durably. For any other layer it only remembers the note,
// and SealWith writes it together with the sealed mark, so that it costs no
// extra write.
func (s *Store) Note(id driver.ID, note json.RawMessage) error {
	if err := s.own(id); err != nil {
		return err
	}
	m, err := s.Load(id)
	if err != nil {
		return err
	}
	if !m.Sealed {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.notes[id] = note
		return nil
	}
	return s.saveNote(id, m, note)
}

// NoteNow is Note, but writes the note durably for every layer.
func (s *Store) NoteNow(id driver.ID, note json.RawMessage) error {
	if err := s.own(id); err != nil {
		return err
	}
	m, err := s.Load(id)
	if err == nil {
		err = s.saveNote(id, m, note)
	}
	if err == nil {
		s.forgetNote(id)
	}
	return err
}

// saveNote saves the record m with the note.
func (s *Store) saveNote(id driver.ID, m Meta, note json.RawMessage) error {
	if bytes.Equal(m.Note, note) {
		return s.syncRecord(id)
	}
	m.Note = note
	return s.Save(id, m)
}

// addNote adds the note that Note remembered for a layer that is being sealed.
func (s *Store) addNote(id driver.ID, m *Meta) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if note, ok := s.notes[id]; ok {
		m.Note = note
	}
}

// forgetNote drops the remembered note of a layer whose note is in its record,
// or that was removed.
func (s *Store) forgetNote(id driver.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.notes, id)
}
