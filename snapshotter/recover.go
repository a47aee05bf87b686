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

// recover makes rows and layers agree after a crash. It removes snapshots whose
// creation or removal was interrupted.
//
// A layer that no row names stays. Every step that makes or removes a layer
// first names it in a row. So when no row names a layer, the database is older
// than the layer, or a user copied the layer here, or an earlier version left
// it. A layer of another engine gets a row.
//
// What cannot be removed now, for example a mounted layer, is logged and stays
// until a later attempt.
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
	// A layer that had a row at the start already has a snapshot, or its removal
	// was just finished.
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

// keepUnnamed logs the layers that no row names, unless they are expected. It
// reserves their IDs, so that no new layer gets one of them. When the disk has
// no room for that, the next call that makes a row reserves them.
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

// reserve keeps the IDs of unnamed layers from being given to new layers.
func (s *Snapshotter) reserve(tx *meta.Tx) error {
	for _, id := range s.unnamed {
		if err := tx.ReserveLayer(string(id)); err != nil {
			return err
		}
	}
	return nil
}

// reconcile removes what is left of a snapshot whose creation or removal was
// interrupted, and the spare layer of a snapshot that is ready.
func (s *Snapshotter) reconcile(ctx context.Context, row meta.Snapshot) error {
	var err error
	switch row.State {
	case meta.Ready:
		if row.Spare == "" {
			return nil
		}
		err = s.dropSpare(ctx, row)
	case meta.Aside: // sweep removes it
		return nil
	case meta.Pending, meta.Removing:
		s.log.InfoContext(ctx, "finish interrupted work", "key", row.Name, "state", row.State)
		err = s.discard(ctx, row)
	}
	if row.State == meta.Removing && row.Kind != meta.Active && errors.Is(err, driver.ErrBusy) {
		err = s.putAside(&row) // so that at least its name is free
	}
	if err != nil {
		s.log.WarnContext(ctx, "interrupted work cannot be finished yet", "key", row.Name, "state", row.State, "error", err)
	}
	return ctx.Err()
}

// dropSpare removes the spare layer of a row.
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
