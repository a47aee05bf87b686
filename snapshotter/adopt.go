package snapshotter

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/containerd/containerd/v2/core/snapshots"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

// LabelForeign is on the committed snapshots of foreign layers: layers that
// another engine left in the directory of the driver. Its value is the name of
// the driver. Opening the store makes one snapshot for each such layer, named
// after the ID of the layer. Only [Snapshotter.Remove] removes the layer.
const LabelForeign = "containerd.io/snapshot/layerkeep.foreign"

// foreign lists the layers of another engine. It returns nil for a driver that
// is not a [driver.Adopter].
func (s *Snapshotter) foreign(ctx context.Context) ([]driver.Foreign, error) {
	a, ok := s.driver.(driver.Adopter)
	if !ok {
		return nil, nil
	}
	list, err := a.Foreign(ctx)
	if err != nil {
		return nil, classify(fmt.Errorf("list layers of another engine: %w", err))
	}
	return list, nil
}

// adopt makes committed snapshots for the foreign layers that have no rows, all
// in one transaction. list has parents before their children.
func (s *Snapshotter) adopt(ctx context.Context, list []driver.Foreign) error {
	if len(list) == 0 {
		return nil
	}
	adopted := 0
	err := s.update("adopt", func(tx *meta.Tx) error {
		rows, err := rowsByLayer(tx)
		if err != nil {
			return err
		}
		t := now()
		for i, f := range list {
			// Each gets a later time than the one before, so that in a list sorted by age
			// the parents come first.
			row, err := s.adoptLayer(tx, f, rows, t.Add(time.Duration(i)))
			if errors.Is(err, errNotAdopted) {
				s.log.WarnContext(ctx, "layer of another engine passed over", "layer", f.ID, "error", err)
				continue
			}
			if err != nil {
				return err
			}
			rows[f.ID] = row
			adopted++
		}
		return nil
	})
	if err == nil && adopted > 0 {
		s.log.InfoContext(ctx, "layers of another engine are now snapshots", "number", adopted)
	}
	return err
}

// errNotAdopted: a layer cannot become a snapshot. The store itself is not
// damaged.
var errNotAdopted = errors.New("it cannot be a snapshot")

func (s *Snapshotter) adoptLayer(tx *meta.Tx, f driver.Foreign, rows map[driver.ID]meta.Snapshot, t time.Time) (meta.Snapshot, error) {
	row := meta.Snapshot{
		Name: string(f.ID), Layer: string(f.ID), Foreign: true, Kind: meta.Committed, State: meta.Ready,
		Labels: map[string]string{LabelForeign: s.driver.Name()}, Created: t, Updated: t,
	}
	if len(f.Parents) > 0 {
		parent := rows[f.Parents[0]]
		if parent.State != meta.Ready || parent.Kind != meta.Committed {
			return row, fmt.Errorf("%w: its parent %s is none", errNotAdopted, f.Parents[0])
		}
		row.Parent = parent.Name
	}
	row, err := tx.CreateSnapshot(row)
	if errors.Is(err, meta.ErrExists) {
		err = fmt.Errorf("%w: %w", errNotAdopted, err)
	}
	return row, err
}

// rowsByLayer returns all rows, in every state, by their layers.
func rowsByLayer(tx *meta.Tx) (map[driver.ID]meta.Snapshot, error) {
	rows := map[driver.ID]meta.Snapshot{}
	err := tx.WalkSnapshots(func(row meta.Snapshot) error {
		rows[layerOf(row)] = row
		return nil
	})
	return rows, err
}

// removeLayer removes the layer of a row that does not exist for callers, and
// its spare layer. The layer may never have been made, and a foreign layer may
// have its ID. removeLayer does not remove a foreign layer then.
func (s *Snapshotter) removeLayer(ctx context.Context, row meta.Snapshot) error {
	if row.Spare != "" {
		if err := s.drop(ctx, driver.ID(row.Spare)); err != nil {
			return err
		}
	}
	if _, ok := s.driver.(driver.Adopter); ok && !row.Foreign && row.Store == "" {
		ours, err := s.driver.Layers(ctx)
		if err != nil || !slices.Contains(ours, layerOf(row)) {
			return err
		}
	}
	return s.dropLayer(ctx, row)
}

// foreignUsage returns the usage of a foreign layer. It is measured at the
// first request and then stored in the row.
func (s *Snapshotter) foreignUsage(ctx context.Context, row meta.Snapshot) (snapshots.Usage, error) {
	usage, err := s.driver.Usage(ctx, layerOf(row))
	if err != nil {
		return snapshots.Usage{}, classify(fmt.Errorf("usage of snapshot %q: %w", row.Name, err))
	}
	if s.readOnly {
		return snapshots.Usage{Size: usage.Bytes, Inodes: usage.Inodes}, nil
	}
	err = s.update("usage", func(tx *meta.Tx) error {
		row, err := ready(tx, row.Name)
		if err != nil {
			return err
		}
		row.Usage = meta.Usage{Bytes: usage.Bytes, Inodes: usage.Inodes}
		return tx.UpdateSnapshot(row)
	})
	return snapshots.Usage{Size: usage.Bytes, Inodes: usage.Inodes}, err
}
