package aufs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/layerkeep/layerkeep/driver"
)

// Record implements [driver.Recorder].
func (d *aufs) Record(_ context.Context, id driver.ID) (driver.Record, error) {
	r, err := d.store.record(id)
	if err != nil {
		err = fmt.Errorf("aufs: record of layer %s: %w", id, err)
	}
	return r, err
}

// Note implements [driver.Recorder].
func (d *aufs) Note(_ context.Context, id driver.ID, note json.RawMessage) error {
	r, err := d.store.record(id)
	if err == nil && r.Foreign {
		err = fmt.Errorf("%w: another engine made it", driver.ErrUnsupported)
	}
	if err == nil {
		err = d.store.records.Note(id, note)
	}
	if err != nil {
		return fmt.Errorf("aufs: note on layer %s: %w", id, err)
	}
	return nil
}

// record is the record of a layer, made up for one of another engine.
func (s *store) record(id driver.ID) (driver.Record, error) {
	m, err := s.load(id)
	if err != nil {
		return driver.Record{}, err
	}
	r, err := s.records.Record(id)
	if errors.Is(err, driver.ErrNotFound) {
		return driver.Record{Parents: m.Parents, Sealed: true, Foreign: true}, nil
	}
	return r, err
}
