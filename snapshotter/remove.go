package snapshotter

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

// Remove removes a snapshot of any kind: the key is free at once, the disk
// space a little later.
//
// Errors match errdefs.ErrNotFound when there is none, ErrFailedPrecondition
// when it is the parent of another, and ErrUnavailable and [driver.ErrBusy]
// when it is mounted and the driver cannot remove it so. After an error the
// snapshot is as before.
func (s *Snapshotter) Remove(ctx context.Context, key string) (err error) {
	defer s.observe(Event{Op: OpRemove, Key: key}).end(&err)
	end, err := s.calls.begin()
	if err != nil {
		return err
	}
	defer end()
	unlock, err := s.keys.write(ctx, key)
	if err != nil {
		return err
	}
	defer unlock()
	if err := s.settle(ctx, key); err != nil {
		return err
	}
	row, err := s.condemn(key)
	if err != nil {
		return err
	}
	if err := s.driver.Remove(ctx, layerOf(row)); err != nil && !s.gone(ctx, row) {
		err = classify(fmt.Errorf("remove snapshot %q: %w", key, err))
		return errors.Join(err, s.pardon(row))
	}
	s.cleanLater(ctx)
	if err := s.update("remove", func(tx *meta.Tx) error { return tx.DeleteSnapshot(key) }); err != nil {
		// The snapshot is gone; only its row is left, and nobody sees that.
		s.log.WarnContext(ctx, "row of removed snapshot stays until the store is opened again", "key", key, "error", err)
	}
	return nil
}

// condemn marks the row, so that nobody finds the snapshot or puts a child on
// it while the driver works.
func (s *Snapshotter) condemn(key string) (row meta.Snapshot, err error) {
	err = s.update("condemn", func(tx *meta.Tx) error {
		if row, err = ready(tx, key); err != nil {
			return err
		}
		if children := tx.Children(row); len(children) > 0 {
			return fail(errdefs.ErrFailedPrecondition, "cannot remove snapshot %q: it is the parent of %q", key, children[0])
		}
		row.State = meta.Removing
		return tx.UpdateSnapshot(row)
	})
	return row, err
}

// gone reports whether the layer is not there any more, although removing it
// has ended with an error: the name went, and what came after that failed.
func (s *Snapshotter) gone(ctx context.Context, row meta.Snapshot) bool {
	_, err := s.driver.Mount(context.WithoutCancel(ctx), layerOf(row), driver.MountOptions{})
	return errors.Is(err, driver.ErrNotFound)
}

// pardon makes a condemned row ready again.
func (s *Snapshotter) pardon(row meta.Snapshot) error {
	row.State = meta.Ready
	return s.update("pardon", func(tx *meta.Tx) error { return tx.UpdateSnapshot(row) })
}

// Cleanup frees what removed snapshots and interrupted calls have left on disk,
// and what can be made again, and returns when that is done. [Snapshotter.Remove]
// starts the former in the background.
func (s *Snapshotter) Cleanup(ctx context.Context) (err error) {
	defer s.observe(Event{Op: OpCleanup}).end(&err)
	end, err := s.calls.begin()
	if err != nil {
		return err
	}
	defer end()
	err = s.driver.Cleanup(ctx)
	if t, ok := s.driver.(driver.Trimmer); ok && err == nil {
		err = t.Trim(ctx)
	}
	if err != nil {
		return classify(fmt.Errorf("clean up: %w", err))
	}
	return nil
}

// cleanLater runs the driver's cleanup beside the calls. Close waits for it.
func (s *Snapshotter) cleanLater(ctx context.Context) {
	ctx = context.WithoutCancel(ctx)
	s.bg.run(func() {
		if err := s.driver.Cleanup(ctx); err != nil {
			s.log.WarnContext(ctx, "clean up after removed snapshots", "error", err)
		}
	})
}
