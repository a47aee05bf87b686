package snapshotter

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

// recover makes rows and layers agree after a crash: what was being made or
// removed goes, and so does a layer that no row names, unless another engine has
// made it: that one gets a row. What cannot be removed now, a mounted layer say,
// is logged and stays for the next time.
func (s *Snapshotter) recover(ctx context.Context) error {
	var rows []meta.Snapshot
	err := s.view(func(tx *meta.Tx) error {
		return tx.WalkSnapshots(func(row meta.Snapshot) error {
			rows = append(rows, row)
			return nil
		})
	})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	layers, err := s.driver.Layers(ctx)
	if err != nil {
		return classify(fmt.Errorf("list layers: %w", err))
	}
	foreign, err := s.foreign(ctx)
	if err != nil {
		return err
	}
	there, known, unknown := map[driver.ID]bool{}, map[driver.ID]bool{}, map[driver.ID]bool{}
	for _, f := range foreign {
		there[f.ID] = true
	}
	for _, id := range layers {
		there[id], unknown[id] = true, true
	}
	for _, row := range rows {
		known[layerOf(row)] = true
		if row.State == meta.Ready && !there[layerOf(row)] {
			s.log.WarnContext(ctx, "layer of snapshot is missing", "name", row.Name, "kind", row.Kind, "layer", row.Layer)
		}
		delete(unknown, layerOf(row))
	}
	for _, row := range rows {
		if err := s.reconcile(ctx, row); err != nil {
			return err
		}
	}
	for id := range unknown {
		s.log.InfoContext(ctx, "remove layer without a snapshot", "layer", id)
		if err := s.driver.Remove(ctx, id); err != nil {
			s.log.WarnContext(ctx, "remove layer without a snapshot", "layer", id, "error", err)
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	// What had a row when this began is adopted, or its removal was just finished.
	foreign = slices.DeleteFunc(foreign, func(f driver.Foreign) bool { return known[f.ID] })
	if err := s.adopt(ctx, foreign); err != nil {
		return err
	}
	s.cleanLater(ctx)
	return nil
}

// reconcile removes what is left of a snapshot that was being made or removed.
func (s *Snapshotter) reconcile(ctx context.Context, row meta.Snapshot) error {
	if row.State == meta.Ready || row.State == meta.Aside { // sweep sees to the latter
		return nil
	}
	s.log.InfoContext(ctx, "finish interrupted work", "key", row.Name, "state", row.State)
	err := s.discard(ctx, row)
	if row.State == meta.Removing && row.Kind != meta.Active && errors.Is(err, driver.ErrBusy) {
		err = s.putAside(&row) // its name at least can be free
	}
	if err != nil {
		s.log.WarnContext(ctx, "interrupted work cannot be finished yet", "key", row.Name, "state", row.State, "error", err)
	}
	return ctx.Err()
}
