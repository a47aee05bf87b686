package snapshotter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/errdefs"

	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

// ErrQuarantined: a repair found that the layer is damaged, and could not
// repair it.
var ErrQuarantined = errors.New("it is in quarantine")

// recordQuarantine is the kind of the records of quarantines. Their names are
// the names of the snapshots.
const recordQuarantine = "quarantine"

// A Quarantine keeps a damaged layer that cannot be repaired from being used.
// No snapshot can be made over its snapshot or over the snapshots above it, and
// none of these can be mounted: such calls return [ErrLayerDamaged]. Existing
// mounts stay. What is still good can be saved: the snapshots can be compared,
// exported and removed. A quarantine ends when the layer is made again or
// removed, and with [Snapshotter.Release].
type Quarantine struct {
	// ID is the ID of the row. A later snapshot of the same name has another
	// ID.
	ID uint64 `json:"id"`
	// What is wrong, in one line.
	What string `json:"what"`
	// ReadData: the damage was found by reading every byte. Only another such
	// check can tell that it is gone.
	ReadData bool      `json:"read_data,omitempty"`
	Since    time.Time `json:"since"`
}

// Quarantine puts a committed snapshot into quarantine. For a snapshot in
// quarantine it replaces the reason. The error matches
// errdefs.ErrFailedPrecondition for a snapshot that is not committed.
func (s *Snapshotter) Quarantine(ctx context.Context, key, what string, readData bool) error {
	done, err := s.changing(ctx, key)
	if err != nil {
		return err
	}
	defer done()
	return s.update("quarantine", func(tx *meta.Tx) error {
		row, err := ready(tx, key)
		if err != nil {
			return err
		}
		if row.Kind != meta.Committed {
			return fail(errdefs.ErrFailedPrecondition, "snapshot %q is %s, not committed", key, row.Kind)
		}
		return tx.PutRecord(recordQuarantine, key, Quarantine{ID: row.ID, What: what, ReadData: readData, Since: now()})
	})
}

// Release ends the quarantine of a snapshot. It is no error when there is none.
func (s *Snapshotter) Release(ctx context.Context, key string) error {
	done, err := s.changing(ctx, key)
	if err != nil {
		return err
	}
	defer done()
	return s.update("release", func(tx *meta.Tx) error { return endQuarantine(tx, key) })
}

// Quarantined returns the snapshots in quarantine, by name.
func (s *Snapshotter) Quarantined() (all map[string]Quarantine, err error) {
	err = s.view(func(tx *meta.Tx) error {
		all, err = quarantined(tx)
		return err
	})
	return all, err
}

func endQuarantine(tx *meta.Tx, key string) error {
	err := tx.DeleteRecord(recordQuarantine, key)
	if errors.Is(err, meta.ErrNotFound) {
		return nil
	}
	return err
}

// quarantined returns the snapshots in quarantine, or nil when there are none.
func quarantined(tx *meta.Tx) (all map[string]Quarantine, err error) {
	err = tx.WalkRecords(recordQuarantine, func(name string, _ json.RawMessage) error {
		q, err := quarantineOf(tx, name)
		if err != nil || q == nil {
			return err
		}
		if all == nil {
			all = map[string]Quarantine{}
		}
		all[name] = *q
		return nil
	})
	return all, err
}

// quarantineOf returns the quarantine of a snapshot, or nil.
func quarantineOf(tx *meta.Tx, name string) (*Quarantine, error) {
	var q Quarantine
	err := tx.GetRecord(recordQuarantine, name, &q)
	if errors.Is(err, meta.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	row, err := tx.Snapshot(name)
	if errors.Is(err, meta.ErrNotFound) || err == nil && row.ID != q.ID {
		return nil, nil // that snapshot was removed
	}
	return &q, err
}

// notQuarantined returns ErrLayerDamaged when a snapshot or one of its parents
// is in quarantine. It returns nil for an empty name. It reads only the
// quarantine records of this chain, so a damaged record affects no other
// snapshots.
func notQuarantined(tx *meta.Tx, name string) error {
	if name == "" || !tx.HasRecords(recordQuarantine) {
		return nil
	}
	chain, err := tx.Chain(name)
	if err != nil {
		return err
	}
	for _, row := range chain {
		q, err := quarantineOf(tx, row.Name)
		if err != nil {
			return err
		}
		if q != nil {
			return layerDamage(row.Name, q.Err())
		}
	}
	return nil
}

// Err returns an [ErrQuarantined] that says what is wrong.
func (q Quarantine) Err() error { return fmt.Errorf("%w: %s", ErrQuarantined, q.What) }

// inQuarantine returns ErrQuarantined for a row that is in quarantine.
func (s *Snapshotter) inQuarantine(row meta.Snapshot) error {
	return s.view(func(tx *meta.Tx) error {
		q, err := quarantineOf(tx, row.Name)
		if err != nil || q == nil || q.ID != row.ID {
			return err
		}
		return q.Err()
	})
}
