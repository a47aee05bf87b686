package snapshotter

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

// A card is the part of a layer's record that describes its snapshot. It has
// enough to make the row again when the database is lost. It is written when
// the snapshot is made, committed or renamed, and when the parent of a
// committed snapshot is renamed. So it does not have labels that were changed
// after that.
type card struct {
	// Store is the ID of the store that the layer was made in.
	Store string `json:"store,omitempty"`
	// Generation is a generation of the database from before it had this row.
	Generation uint64            `json:"generation,omitempty"`
	Name       string            `json:"name"`
	Parent     string            `json:"parent,omitempty"`
	Kind       meta.Kind         `json:"kind"`
	Labels     map[string]string `json:"labels,omitempty"`
	Created    time.Time         `json:"created"`
	// Digest is the digest in the row. If the card did not have it, no check could
	// tell after a loss of the database whether the layer still is what was
	// committed. It is added after the commit has read the sealed layer.
	Digest string `json:"digest,omitempty"`
}

// note returns the card of a row as JSON. It returns nil for a driver that
// stores no records.
func (s *Snapshotter) note(row meta.Snapshot) (json.RawMessage, error) {
	if _, ok := s.driver.(driver.Recorder); !ok {
		return nil, nil
	}
	c := card{Store: s.id, Name: row.Name, Parent: row.Parent, Kind: row.Kind, Labels: row.Labels, Created: row.Created, Digest: row.Digest}
	err := s.view(func(tx *meta.Tx) (err error) {
		c.Generation, err = tx.Generation()
		return err
	})
	if err != nil {
		return nil, err
	}
	raw, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("snapshot %q: %w", row.Name, err)
	}
	return raw, nil
}

// inscribe gives the driver the card of a row. The driver writes it to the
// record at once when the layer is sealed, and otherwise when it seals the
// layer.
func (s *Snapshotter) inscribe(ctx context.Context, row meta.Snapshot) error {
	return s.inscribeBy(ctx, row, driver.Recorder.Note)
}

// inscribeNow gives the driver the card of a row. The driver writes it to the
// record at once, also for a layer that is not sealed.
func (s *Snapshotter) inscribeNow(ctx context.Context, row meta.Snapshot) error {
	return s.inscribeBy(ctx, row, driver.Recorder.NoteNow)
}

func (s *Snapshotter) inscribeBy(ctx context.Context, row meta.Snapshot, put func(driver.Recorder, context.Context, driver.ID, json.RawMessage) error) error {
	r, ok := s.driver.(driver.Recorder)
	if !ok {
		return nil
	}
	note, err := s.note(row)
	if err != nil {
		return err
	}
	return put(r, ctx, layerOf(row), note)
}

// readCard decodes the card in a record. ok is false when the record has none,
// because an earlier version or another engine wrote it.
func readCard(r driver.Record) (c card, ok bool, err error) {
	if r.Note == nil {
		return card{}, false, nil
	}
	if err := json.Unmarshal(r.Note, &c); err != nil {
		return card{}, false, fmt.Errorf("what it says of its snapshot is unreadable: %w", err)
	}
	return c, c.Name != "", nil
}
