package snapshotter

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/errkind"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

// view runs a reading transaction.
func (s *Snapshotter) view(fn func(*meta.Tx) error) error {
	return classifyMeta(s.db.View(fn))
}

// update runs a writing transaction. point names it for the hook.
func (s *Snapshotter) update(point string, fn func(*meta.Tx) error) error {
	return s.write(point, s.db.Update, fn)
}

// free is update for a transaction that frees space or undoes something. On a
// full disk it may use the reserve of the database.
func (s *Snapshotter) free(point string, fn func(*meta.Tx) error) error {
	return s.write(point, s.db.Free, fn)
}

// drop removes a layer. On a full disk it may use the reserve of the database.
func (s *Snapshotter) drop(ctx context.Context, id driver.ID) error {
	if s.readOnly {
		return errReadOnly
	}
	return s.db.Roomy(func() error { return s.driver.Remove(ctx, id) })
}

// dropLayer is drop for the layer of a row. It does not remove the layer of a
// borrowed row.
func (s *Snapshotter) dropLayer(ctx context.Context, row meta.Snapshot) error {
	if row.Store != "" {
		return nil
	}
	return s.drop(ctx, layerOf(row))
}

func (s *Snapshotter) write(point string, run func(func(*meta.Tx) error) error, fn func(*meta.Tx) error) error {
	if s.readOnly {
		return errReadOnly
	}
	if s.hook != nil {
		if err := s.hook(point + " before"); err != nil {
			return err
		}
	}
	if err := run(fn); err != nil {
		return classifyMeta(err)
	}
	if s.hook != nil {
		return s.hook(point + " after")
	}
	return nil
}

// classifyMeta gives an error of package meta the matching kind of errdefs.
func classifyMeta(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, meta.ErrNotFound):
		return errkind.As(err, errdefs.ErrNotFound)
	case errors.Is(err, meta.ErrExists):
		return errkind.As(err, errdefs.ErrAlreadyExists)
	case errors.Is(err, meta.ErrHasChildren):
		return errkind.As(err, errdefs.ErrFailedPrecondition)
	case errors.Is(err, meta.ErrInvalidName):
		return errkind.As(err, errdefs.ErrInvalidArgument)
	case errors.Is(err, meta.ErrDamaged):
		return errkind.As(fmt.Errorf("%w: %w", ErrDamaged, err), errdefs.ErrDataLoss)
	default:
		return exhausted(err)
	}
}

// allRows returns the rows of all snapshots, in every state, in the order of
// names.
func allRows(tx *meta.Tx) (rows []meta.Snapshot, err error) {
	err = tx.WalkSnapshots(func(row meta.Snapshot) error {
		rows = append(rows, row)
		return nil
	})
	return rows, err
}

// ready returns the row of a snapshot. For a snapshot whose layer is being made
// or removed it returns ErrNotFound, because that does not exist for callers.
func ready(tx *meta.Tx, name string) (meta.Snapshot, error) {
	row, err := tx.Snapshot(name)
	if err != nil {
		return meta.Snapshot{}, err
	}
	if row.State != meta.Ready {
		return meta.Snapshot{}, fmt.Errorf("snapshot %q: %w", name, meta.ErrNotFound)
	}
	return row, nil
}

// row is ready in a transaction of its own.
func (s *Snapshotter) row(name string) (row meta.Snapshot, err error) {
	err = s.view(func(tx *meta.Tx) error {
		row, err = ready(tx, name)
		return err
	})
	return row, err
}

// writable is row for a snapshot that must be active.
func (s *Snapshotter) writable(key string) (meta.Snapshot, error) {
	row, err := s.row(key)
	switch {
	case err != nil:
		return meta.Snapshot{}, err
	case row.Kind == meta.Committed:
		return meta.Snapshot{}, classify(fmt.Errorf("snapshot %q is committed: %w", key, driver.ErrSealed))
	case row.Kind != meta.Active:
		return meta.Snapshot{}, fail(errdefs.ErrFailedPrecondition, "snapshot %q is a %s, not active", key, row.Kind)
	}
	return row, nil
}

func layerOf(row meta.Snapshot) driver.ID { return driver.ID(row.Layer) }

// layersOf returns the layers of the rows. It returns nil for no rows, to be
// equal to the Parents of a record without parents.
func layersOf(rows []meta.Snapshot) (ids []driver.ID) {
	for _, row := range rows {
		ids = append(ids, layerOf(row))
	}
	return ids
}

// evaluate applies the options to an empty Info.
func evaluate(opts []snapshots.Opt) (snapshots.Info, error) {
	var info snapshots.Info
	for _, opt := range opts {
		if err := opt(&info); err != nil {
			return snapshots.Info{}, err
		}
	}
	info.Labels = keptLabels(info.Labels)
	return info, checkLabels(nil, info.Labels)
}

// keptLabels returns a copy without empty values. As in containerd's own
// stores, an empty value removes a label.
func keptLabels(labels map[string]string) map[string]string {
	kept := maps.Clone(labels)
	maps.DeleteFunc(kept, func(_, value string) bool { return value == "" })
	if len(kept) == 0 {
		return nil
	}
	return kept
}

// now returns the time in the form of a row, without the monotonic clock. So a
// call returns the same time as a later call reads.
func now() time.Time { return time.Now().UTC().Round(0) }

func infoOf(row meta.Snapshot) snapshots.Info {
	return snapshots.Info{
		Kind:    kindOf(row.Kind),
		Name:    row.Name,
		Parent:  row.Parent,
		Labels:  row.Labels,
		Created: row.Created,
		Updated: row.Updated,
	}
}

func kindOf(kind meta.Kind) snapshots.Kind {
	switch kind {
	case meta.Active:
		return snapshots.KindActive
	case meta.View:
		return snapshots.KindView
	case meta.Committed:
		return snapshots.KindCommitted
	default:
		return snapshots.KindUnknown
	}
}
