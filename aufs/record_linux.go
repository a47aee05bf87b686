package aufs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/layerdir"
)

// Record implements [driver.Recorder].
func (d *backend) Record(_ context.Context, id driver.ID) (driver.Record, error) {
	r, err := d.store.record(id)
	if err != nil {
		err = fmt.Errorf("aufs: record of layer %s: %w", id, err)
	}
	return r, err
}

// Note implements [driver.Recorder].
func (d *backend) Note(_ context.Context, id driver.ID, note json.RawMessage) error {
	return d.note(id, note, d.store.records.Note)
}

// NoteNow implements [driver.Recorder].
func (d *backend) NoteNow(_ context.Context, id driver.ID, note json.RawMessage) error {
	return d.note(id, note, d.store.records.NoteNow)
}

func (d *backend) note(id driver.ID, note json.RawMessage, put func(driver.ID, json.RawMessage) error) error {
	r, err := d.store.record(id)
	if err == nil && r.Foreign {
		err = fmt.Errorf("%w: another engine made it", driver.ErrUnsupported)
	}
	if err == nil {
		err = put(id, note)
	}
	if err != nil {
		return fmt.Errorf("aufs: note on layer %s: %w", id, err)
	}
	return nil
}

// record returns the record of a layer. For a layer of another engine it makes
// one up.
func (s *store) record(id driver.ID) (driver.Record, error) {
	m, err := s.Load(id)
	if err != nil {
		return driver.Record{}, err
	}
	r, err := s.records.Record(id)
	if errors.Is(err, driver.ErrNotFound) {
		return driver.Record{Parents: m.Parents, Sealed: true, Foreign: true}, nil
	}
	return r, err
}

// Rerecord implements [driver.Rerecorder].
func (d *backend) Rerecord(ctx context.Context, id driver.ID, parents []driver.ID, opts driver.CreateOptions) error {
	err := errors.Join(ctx.Err(), d.store.records.Changeable(), id.Validate())
	if err == nil {
		err = d.store.rerecord(id, layerdir.Meta{Parents: parents, View: opts.View, Note: opts.Note})
	}
	if err != nil {
		return fmt.Errorf("aufs: write the record of layer %s: %w", id, err)
	}
	return nil
}

// rerecord writes the record of a layer of this driver again. A layer whose
// record is lost completely looks like a layer of another engine. rerecord
// writes the classic list of parents first, as CreateWith does.
func (s *store) rerecord(id driver.ID, m layerdir.Meta) error {
	s.names.Lock()
	defer s.names.Unlock()
	ours, err := s.there(id, m.View)
	if err != nil {
		return err
	}
	if _, err := s.CheckParents(m.Parents); err != nil {
		return err
	}
	if !m.View {
		if err := s.notBranch(id, layerdir.MountedReadOnly); err != nil {
			return err
		}
		if err := s.writeParents(id, m.Parents); err != nil {
			return err
		}
	}
	if !ours {
		return s.records.Create(id, m, func(string) error { return nil })
	}
	return s.records.Save(id, m)
}

// there returns [driver.ErrNotFound] unless everything of the layer except its
// record exists. ours says that the directory for the record exists.
func (s *store) there(id driver.ID, view bool) (ours bool, err error) {
	if ours, err = s.ours(id); err != nil {
		return ours, err
	}
	incomplete, err := s.incomplete(id)
	if err == nil && incomplete {
		err = driver.ErrNotFound
	}
	if err == nil {
		err = s.checkLayer(id)
	}
	if err != nil {
		return ours, err
	}
	is := ours // a view has only a record
	switch {
	case !ours:
		is, err = s.looksForeign(id)
	case !view:
		is, err = exists(s.branch(id))
	}
	if err == nil && !is {
		err = fmt.Errorf("its files: %w", driver.ErrNotFound)
	}
	return ours, err
}
