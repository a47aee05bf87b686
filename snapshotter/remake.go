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

// rereadable reports whether the layer in the snapshot can be read once more.
func (s *Snapshotter) rereadable(row meta.Snapshot) bool {
	return row.Source != "" && s.sources.of(row.Name) != nil
}

// remake commits a snapshot whose layer can only be applied on its parents: in a
// new layer over these, from a second reading. Only the transaction that commits
// puts it in the place of the old one; a layer that no row names, old or new, goes
// when the store is opened, if it has not gone before.
func (s *Snapshotter) remake(ctx context.Context, row meta.Snapshot, name string, info snapshots.Info) error {
	if !s.rereadable(row) {
		return classify(fmt.Errorf("commit snapshot %q: %w: apply its layer anew, for it cannot be read again here",
			row.Name, driver.ErrNeedsParents))
	}
	fresh, above, err := s.announceRemake(row.Name, info.Parent)
	if err != nil {
		return err
	}
	usage, err := s.rebuild(ctx, fresh, above)
	if err != nil {
		err = classify(fmt.Errorf("commit snapshot %q: %w", row.Name, err))
	} else {
		err = s.publish(fresh, name, usage, info.Labels)
	}
	ctx = context.WithoutCancel(ctx)
	if err != nil {
		return errors.Join(err, s.undoRemake(ctx, fresh))
	}
	if err := s.driver.Remove(ctx, layerOf(row)); err != nil {
		s.log.WarnContext(ctx, "what was unpacked without its parents stays until the store is opened again", "layer", row.Layer, "error", err)
	}
	s.cleanLater(ctx)
	return nil
}

// announceRemake names the parent in the row of key, and returns the row with a
// layer that is still to be made.
func (s *Snapshotter) announceRemake(key, parent string) (row meta.Snapshot, above []driver.ID, err error) {
	err = s.update("remake", func(tx *meta.Tx) error {
		if err := checkParent(tx, parent, errdefs.ErrFailedPrecondition); err != nil {
			return err
		}
		if above, err = parents(tx, parent); err != nil {
			return err
		}
		layer, err := tx.NewLayer()
		if err != nil {
			return err
		}
		row, err = setRebase(tx, key, parent)
		row.Layer = layer
		return err
	})
	return row, above, err
}

// rebuild makes and seals the layer of a row from a second reading.
func (s *Snapshotter) rebuild(ctx context.Context, row meta.Snapshot, above []driver.ID) (driver.Usage, error) {
	if err := s.driver.Create(ctx, layerOf(row), above, driver.CreateOptions{}); err != nil {
		return driver.Usage{}, err
	}
	if err := s.reapply(ctx, row); err != nil {
		return driver.Usage{}, err
	}
	return s.seal(ctx, row)
}

func (s *Snapshotter) reapply(ctx context.Context, row meta.Snapshot) error {
	layer, opts, err := s.sources.of(row.Name)(ctx, row.Source)
	if err != nil {
		return err
	}
	opts.Detached = false
	_, err = s.driver.ApplyDiff(ctx, layerOf(row), layer, opts)
	return errors.Join(err, layer.Close())
}

// undoRemake leaves the snapshot as it was before remake, unless its commit counts
// in spite of the error.
func (s *Snapshotter) undoRemake(ctx context.Context, fresh meta.Snapshot) error {
	err := s.update("remake undo", func(tx *meta.Tx) error {
		_, err := setRebase(tx, fresh.Name, "")
		return err
	})
	if err != nil {
		return err
	}
	if err := s.driver.Remove(ctx, layerOf(fresh)); err != nil {
		return classify(fmt.Errorf("remove what was applied: %w", err))
	}
	s.cleanLater(ctx)
	return nil
}
