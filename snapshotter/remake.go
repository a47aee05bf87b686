package snapshotter

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

// rereadable reports whether the layer in the snapshot can be read again.
func (s *Snapshotter) rereadable(row meta.Snapshot) bool {
	return row.Source != "" && s.sources.of(row.Name) != nil
}

// remake commits a snapshot whose layer can only be applied over its parents.
// It reads the layer again and applies it to a new layer over the parents. The
// transaction of the commit puts the new layer in the row instead of the old
// one. The row names the other of the two as its spare layer. remake removes it
// at the end; if that fails, opening the store removes it.
func (s *Snapshotter) remake(ctx context.Context, row meta.Snapshot, name string, info snapshots.Info) error {
	if !s.rereadable(row) {
		return classify(fmt.Errorf("commit snapshot %q: %w: apply its layer anew, for it cannot be read again here",
			row.Name, driver.ErrNeedsParents))
	}
	if row.Spare != "" { // from an earlier attempt
		if err := s.dropSpare(ctx, row); err != nil {
			return err
		}
	}
	fresh, above, err := s.announceRemake(row.Name, info.Parent)
	if err != nil {
		return err
	}
	committed, err := s.rebuild(ctx, fresh, committedRow(fresh, name, info.Labels), above)
	if err != nil {
		err = classify(fmt.Errorf("commit snapshot %q: %w", row.Name, err))
	} else {
		err = s.publish(fresh.Name, committed)
	}
	ctx = context.WithoutCancel(ctx)
	if err != nil {
		s.sound.Store(s.sound.Load() && !errors.Is(err, errTaken)) // as in create
		return errors.Join(err, s.undoRemake(ctx, fresh, !errors.Is(err, errTaken)))
	}
	fresh.Name = name
	if err := s.dropSpare(ctx, fresh); err != nil {
		s.log.WarnContext(ctx, "what was unpacked without its parents stays until the store is opened again", "layer", row.Layer, "error", err)
	}
	s.cleanLater(ctx)
	return nil
}

// announceRemake writes the parent into the row of key, and the ID of a layer
// that is still to be made as its spare layer. It returns the row with Layer
// and Spare exchanged, and the layers below.
func (s *Snapshotter) announceRemake(key, parent string) (row meta.Snapshot, above []driver.ID, err error) {
	err = s.update("remake", func(tx *meta.Tx) error {
		if err := checkParent(tx, parent, errdefs.ErrFailedPrecondition); err != nil {
			return err
		}
		if above, err = s.parents(tx, parent); err != nil {
			return err
		}
		if err := s.reserve(tx); err != nil {
			return err
		}
		layer, err := tx.NewLayer()
		if err != nil {
			return err
		}
		if row, err = ready(tx, key); err != nil {
			return err
		}
		row.Rebase, row.Spare = parent, layer
		return tx.UpdateSnapshot(row)
	})
	row.Layer, row.Spare = row.Spare, row.Layer
	return row, above, err
}

// rebuild makes the layer of a row from a second reading, and seals it. See
// seal.
func (s *Snapshotter) rebuild(ctx context.Context, row, committed meta.Snapshot, above []driver.ID) (meta.Snapshot, error) {
	err := s.driver.Create(ctx, layerOf(row), above, driver.CreateOptions{})
	if errors.Is(err, driver.ErrExists) {
		err = taken(row)
	}
	if err != nil {
		return committed, err
	}
	if err := s.reapply(ctx, row); err != nil {
		return committed, err
	}
	return s.seal(ctx, row, committed)
}

func (s *Snapshotter) reapply(ctx context.Context, row meta.Snapshot) error {
	layer, opts, err := s.sources.of(row.Name)(ctx, row.Source)
	if err != nil {
		return err
	}
	opts.Detached, opts.Fresh = false, true
	_, err = s.driver.ApplyDiff(ctx, layerOf(row), layer, opts)
	return errors.Join(err, layer.Close())
}

// undoRemake restores the snapshot as it was before remake. When the commit
// took effect in spite of its error, undoRemake finds no row and changes
// nothing. made is false when the new layer existed before, with the same ID:
// then only the row changes.
func (s *Snapshotter) undoRemake(ctx context.Context, fresh meta.Snapshot, made bool) error {
	err := s.free("remake undo", func(tx *meta.Tx) error {
		_, err := setRebase(tx, fresh.Name, "")
		return err
	})
	if err != nil {
		return err
	}
	old := fresh
	old.Layer, old.Spare = fresh.Spare, fresh.Layer
	if !made { // the layer with this ID does not belong to this row
		return s.forgetSpare(old)
	}
	if err := s.dropSpare(ctx, old); err != nil {
		return fmt.Errorf("remove what was applied: %w", err)
	}
	s.cleanLater(ctx)
	return nil
}
