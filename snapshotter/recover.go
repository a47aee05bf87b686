package snapshotter

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/durable"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

// recover makes rows and layers agree after a crash: what was being made or
// removed goes. A layer that no row names stays: every step that makes or
// removes a layer names it in a row first, so the database is older than the
// layer, or the layer was copied here, or an earlier version left it. One that
// another engine has made gets a row. What cannot be removed now, a mounted
// layer say, is logged and stays for the next time.
func (s *Snapshotter) recover(ctx context.Context, restoring bool) error {
	found, err := s.survey(ctx)
	if err != nil {
		return err
	}
	known := map[driver.ID]bool{}
	for _, row := range found.rows {
		known[layerOf(row)] = true
	}
	s.sound.Store(true)
	if err := s.keepUnnamed(ctx, slices.Sorted(maps.Keys(found.unnamed)), restoring); err != nil {
		return err
	}
	for _, row := range found.rows {
		if err := s.reconcile(ctx, row); err != nil {
			return err
		}
	}
	if err := s.finishRenames(ctx); err != nil {
		return err
	}
	// What had a row when this began is adopted, or its removal was just finished.
	foreign := slices.DeleteFunc(found.foreign, func(f driver.Foreign) bool { return known[f.ID] })
	if err := s.adopt(ctx, foreign); durable.NoRoom(err) {
		s.log.WarnContext(ctx, "no room for snapshots of another engine's layers", "error", err)
	} else if err != nil {
		return err
	}
	s.sound.Store(s.sound.Load() && len(found.unnamed) == 0 && !found.missing)
	s.cleanLater(ctx)
	return nil
}

// keepUnnamed says which layers no row names, and sees to it that no new layer
// gets one of their names. Without room for that now, the next row that is made
// does.
func (s *Snapshotter) keepUnnamed(ctx context.Context, layers []driver.ID, expected bool) error {
	for _, id := range layers {
		if !expected {
			s.log.WarnContext(ctx, "no snapshot has this layer; it stays as it is: the database may be older than it", "layer", id)
		}
	}
	s.unnamed = layers
	reserved := true
	err := s.view(func(tx *meta.Tx) error {
		for _, id := range layers {
			reserved = reserved && tx.Reserved(string(id))
		}
		return nil
	})
	if err != nil || reserved {
		return err
	}
	err = s.free("reserve", s.reserve)
	if durable.NoRoom(err) {
		return nil
	}
	return err
}

// reserve keeps the names of unnamed layers from new ones.
func (s *Snapshotter) reserve(tx *meta.Tx) error {
	for _, id := range s.unnamed {
		if err := tx.ReserveLayer(string(id)); err != nil {
			return err
		}
	}
	return nil
}

// reconcile removes what is left of a snapshot that was being made or removed,
// and the layer that another took the place of.
func (s *Snapshotter) reconcile(ctx context.Context, row meta.Snapshot) error {
	var err error
	switch row.State {
	case meta.Ready:
		if row.Spare == "" {
			return nil
		}
		err = s.dropSpare(ctx, row)
	case meta.Aside: // sweep sees to it
		return nil
	case meta.Pending, meta.Removing:
		s.log.InfoContext(ctx, "finish interrupted work", "key", row.Name, "state", row.State)
		err = s.discard(ctx, row)
	}
	if row.State == meta.Removing && row.Kind != meta.Active && errors.Is(err, driver.ErrBusy) {
		err = s.putAside(&row) // its name at least can be free
	}
	if err != nil {
		s.log.WarnContext(ctx, "interrupted work cannot be finished yet", "key", row.Name, "state", row.State, "error", err)
	}
	return ctx.Err()
}

// dropSpare removes the layer that a row has beside its own.
func (s *Snapshotter) dropSpare(ctx context.Context, row meta.Snapshot) error {
	if err := s.drop(ctx, driver.ID(row.Spare)); err != nil {
		return classify(fmt.Errorf("remove layer %s: %w", row.Spare, err))
	}
	return s.forgetSpare(row)
}

func (s *Snapshotter) forgetSpare(row meta.Snapshot) error {
	return s.free("spare", func(tx *meta.Tx) error {
		row, err := tx.Snapshot(row.Name)
		if err != nil {
			return err
		}
		row.Spare = ""
		return tx.UpdateSnapshot(row)
	})
}
