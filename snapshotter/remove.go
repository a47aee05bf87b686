package snapshotter

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/durable"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

// Remove removes a snapshot of any kind. The key is free when Remove returns;
// the disk space is free a little later.
//
// Errors match:
//
//   - errdefs.ErrNotFound when there is no such snapshot;
//   - errdefs.ErrFailedPrecondition when it is the parent of another snapshot;
//   - errdefs.ErrUnavailable and [driver.ErrBusy] when it is mounted and the
//     driver cannot remove a mounted layer, and when a removed snapshot above
//     it is still mounted.
//
// After an error the snapshot is as before.
func (s *Snapshotter) Remove(ctx context.Context, key string) error {
	return s.remove(ctx, key, false)
}

// remove is Remove. With aside it does not refuse a view or committed snapshot
// that is in use. Instead it hides the row, and the layer is removed when it is
// no longer in use.
func (s *Snapshotter) remove(ctx context.Context, key string, aside bool) (err error) {
	defer s.observe(Event{Op: OpRemove, Key: key}).end(&err)
	done, err := s.changing(ctx, key)
	if err != nil {
		return err
	}
	defer done()
	if err := s.settle(ctx, key); err != nil {
		return err
	}
	if !aside {
		s.sweep(ctx) // the mounts above it may be gone now
	}
	row, err := s.condemn(key, aside)
	if err != nil {
		return err
	}
	if row.State == meta.Aside {
		s.cleanLater(ctx)
		return nil
	}
	if err := s.dropLayer(ctx, row); err != nil && !s.gone(ctx, row) {
		if aside && row.Kind != meta.Active && errors.Is(err, driver.ErrBusy) {
			s.log.InfoContext(ctx, "removed snapshot is still in use, its layer goes later", "key", key, "layer", row.Layer)
			return s.orPardon(row, s.putAside(&row))
		}
		err = classify(fmt.Errorf("remove snapshot %q: %w", key, err))
		return errors.Join(err, s.pardon(row))
	}
	s.cleanLater(ctx)
	if row.Spare != "" {
		if err := s.drop(ctx, driver.ID(row.Spare)); err != nil {
			s.log.WarnContext(ctx, "spare layer of removed snapshot stays until the store is opened again", "key", key, "error", err)
			return nil
		}
	}
	forget := func(tx *meta.Tx) error {
		if err := endQuarantine(tx, key); err != nil {
			return err
		}
		return tx.DeleteSnapshot(key)
	}
	if err := s.free("remove", forget); err != nil {
		// The snapshot is gone. Only its row is left, in the state removing, which
		// callers do not see.
		s.log.WarnContext(ctx, "row of removed snapshot stays until the store is opened again", "key", key, "error", err)
	}
	return nil
}

// condemn sets the row removing. So no call finds the snapshot or makes a child
// of it while the driver works. When the snapshot has children that were put
// aside, their mounts may need its layer: with aside, condemn then puts the row
// aside too, and without, it returns an error.
func (s *Snapshotter) condemn(key string, aside bool) (row meta.Snapshot, err error) {
	err = s.free("condemn", func(tx *meta.Tx) error {
		if row, err = ready(tx, key); err != nil {
			return err
		}
		children := tx.Children(row)
		for _, child := range children {
			if !isAside(child) {
				return fail(errdefs.ErrFailedPrecondition, "cannot remove snapshot %q: it is the parent of %q", key, child)
			}
		}
		switch {
		case len(children) == 0:
			row.State = meta.Removing
			return tx.UpdateSnapshot(row)
		case aside:
			return moveAside(tx, &row)
		}
		return classify(fmt.Errorf("cannot remove snapshot %q: %w: what was removed from above it is still mounted", key, driver.ErrBusy))
	})
	return row, err
}

// gone reports whether the layer no longer exists although its removal returned
// an error. That happens when the layer was renamed away and a later step
// failed.
func (s *Snapshotter) gone(ctx context.Context, row meta.Snapshot) bool {
	_, err := s.driver.Mount(context.WithoutCancel(ctx), layerOf(row), driver.MountOptions{})
	return errors.Is(err, driver.ErrNotFound)
}

// pardon makes a condemned row ready again.
func (s *Snapshotter) pardon(row meta.Snapshot) error {
	row.State = meta.Ready
	return s.free("pardon", func(tx *meta.Tx) error { return tx.UpdateSnapshot(row) })
}

// orPardon makes a row ready again when err says that it could not be put
// aside.
func (s *Snapshotter) orPardon(row meta.Snapshot, err error) error {
	if err == nil {
		return nil
	}
	return errors.Join(err, s.pardon(row))
}

// Cleanup deletes what removed snapshots and interrupted calls left on disk,
// and cached files that can be made again. It returns when that is done.
// [Snapshotter.Remove] starts the first part in the background.
func (s *Snapshotter) Cleanup(ctx context.Context) (err error) {
	defer s.observe(Event{Op: OpCleanup}).end(&err)
	end, err := s.beginChange()
	if err != nil {
		return err
	}
	defer end()
	s.sweep(ctx)
	if err = s.db.Roomy(func() error { return s.driver.Cleanup(ctx) }); err == nil {
		s.tidy.Store(true)
	}
	if t, ok := s.driver.(driver.Trimmer); ok && err == nil {
		err = t.Trim(ctx)
	}
	if err != nil {
		return classify(fmt.Errorf("clean up: %w", err))
	}
	s.keepRoom(ctx)
	s.compact(ctx)
	return nil
}

// compact makes the file of the database smaller after removals. The store
// works the same without that, so an error is only logged.
func (s *Snapshotter) compact(ctx context.Context) {
	if s.readOnly {
		return
	}
	done, err := s.db.Compact()
	switch {
	case durable.NoRoom(err):
		s.log.InfoContext(ctx, "no room to make the database smaller", "error", err)
	case err != nil:
		s.log.WarnContext(ctx, "the database could not be made smaller", "error", err)
	case done:
		s.log.InfoContext(ctx, "the database was made smaller")
	}
}

// keepRoom makes the reserve again when removals have used it.
func (s *Snapshotter) keepRoom(ctx context.Context) {
	if err := s.db.Reserve(); err != nil {
		s.log.WarnContext(ctx, "no room is kept for removals on a full disk", "error", err)
	}
}

// cleanLater runs sweep and the driver's Cleanup in the background. Close waits
// for it.
func (s *Snapshotter) cleanLater(ctx context.Context) {
	ctx = context.WithoutCancel(ctx)
	s.bg.run(func() {
		s.sweep(ctx)
		if !s.needsCleanup() {
			return
		}
		if err := s.driver.Cleanup(ctx); err != nil {
			s.log.WarnContext(ctx, "clean up after removed snapshots", "error", err)
			return
		}
		s.tidy.Store(true)
	})
}
