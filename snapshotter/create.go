package snapshotter

import (
	"context"
	"errors"
	"fmt"

	ctdmount "github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/mount"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

// Prepare makes an active snapshot over a committed parent, and returns how to
// mount it. An empty parent means none.
//
// Errors match:
//
//   - errdefs.ErrAlreadyExists when key is taken;
//   - errdefs.ErrNotFound when the parent is missing;
//   - errdefs.ErrInvalidArgument when the parent is not committed, when
//     LabelSize or the labels of [IDMap] are malformed, when a label is longer
//     than 4 KiB, and when all labels together are longer than 1 MiB;
//   - errdefs.ErrNotImplemented when the driver cannot limit sizes or map IDs.
//
// After an error there is no snapshot.
func (s *Snapshotter) Prepare(ctx context.Context, key, parent string, opts ...snapshots.Opt) ([]ctdmount.Mount, error) {
	return s.create(ctx, creation{kind: meta.Active, key: key, parent: parent, mounted: true}, opts)
}

// Create is Prepare without mounts, for a snapshot that is filled with
// [Snapshotter.Apply]. It works also where the driver cannot mount writable
// layers, see driver.Properties.MountsWritable. Prepare fails there.
func (s *Snapshotter) Create(ctx context.Context, key, parent string, opts ...snapshots.Opt) error {
	_, err := s.create(ctx, creation{kind: meta.Active, key: key, parent: parent}, opts)
	return err
}

// View is Prepare for a snapshot that can only be read.
func (s *Snapshotter) View(ctx context.Context, key, parent string, opts ...snapshots.Opt) ([]ctdmount.Mount, error) {
	return s.create(ctx, creation{kind: meta.View, key: key, parent: parent, mounted: true}, opts)
}

// A creation describes a snapshot that is to be made.
type creation struct {
	kind        meta.Kind
	key, parent string
	labels      map[string]string
	size        int64 // limit in bytes, 0 for none
	idmap       *mount.IDMap
	mounted     bool // the caller wants to know how to mount it
}

func (s *Snapshotter) create(ctx context.Context, c creation, opts []snapshots.Opt) (_ []ctdmount.Mount, err error) {
	op := OpPrepare
	if c.kind == meta.View {
		op = OpView
	}
	defer s.observe(Event{Op: op, Key: c.key, Parent: c.parent}).end(&err)
	end, err := s.beginChange()
	if err != nil {
		return nil, err
	}
	defer end()
	info, err := evaluate(opts)
	if err != nil {
		return nil, err
	}
	c.labels = info.Labels
	if c.size, err = s.checkSize(c.kind, c.key, c.labels); err != nil {
		return nil, err
	}
	if c.idmap, err = s.checkIDMap(c); err != nil {
		return nil, err
	}
	unlock, err := s.keys.write(ctx, c.key)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := s.settle(ctx, c.key); err != nil {
		return nil, err
	}
	// This is a transaction of its own. If announce borrowed the parent and then
	// failed, its rows would be undone, but s.chains would still have them.
	if err := s.borrow(ctx, c.parent); err != nil {
		return nil, err
	}
	row, above, err := s.announce(c)
	if err != nil {
		return nil, err
	}
	mounts, err := s.build(ctx, c, row, above)
	if errors.Is(err, errTaken) {
		s.sound.Store(false) // the next opening reports that layer
		// The layer with this ID does not belong to this row, so only the row is
		// removed.
		return nil, errors.Join(err, s.forget(row))
	}
	if err != nil {
		return nil, errors.Join(err, s.discard(ctx, row))
	}
	return toContainerd(mounts), nil
}

// announce writes the pending row. While the driver works, the row reserves the
// key and keeps the parent from being removed.
func (s *Snapshotter) announce(c creation) (row meta.Snapshot, above []driver.ID, err error) {
	t := now()
	row = meta.Snapshot{
		Name: c.key, Parent: c.parent, Kind: c.kind, State: meta.Pending,
		Labels: c.labels, Created: t, Updated: t,
	}
	err = s.update("announce", func(tx *meta.Tx) error {
		if err := checkParent(tx, c.parent, errdefs.ErrInvalidArgument); err != nil {
			return err
		}
		if err := s.inReach(tx, c.parent); err != nil {
			return err
		}
		if err := notQuarantined(tx, c.parent); err != nil {
			return err
		}
		if above, err = s.parents(tx, c.parent); err != nil {
			return err
		}
		if IsExtraction(c.key) { // an extraction will be committed, so check its depth now
			if err := checkDepth(c.key, above, s.driver.Properties().MaxParents); err != nil {
				return err
			}
		}
		if err := s.reserve(tx); err != nil {
			return err
		}
		row, err = tx.CreateSnapshot(row)
		return err
	})
	return row, above, err
}

// checkParent returns nil when name is empty or is a committed snapshot. When
// the snapshot is not committed, it returns an error of the given kind.
func checkParent(tx *meta.Tx, name string, kind error) error {
	if name == "" {
		return nil
	}
	row, err := ready(tx, name)
	if err != nil {
		return fmt.Errorf("parent: %w", err)
	}
	if row.Kind != meta.Committed {
		return fail(kind, "parent %q is not committed", name)
	}
	return nil
}

// build makes the layer of a pending row and sets the row ready. The snapshot
// exists from that transaction on.
func (s *Snapshotter) build(ctx context.Context, c creation, row meta.Snapshot, above []driver.ID) (mounts []mount.Mount, err error) {
	note, err := s.note(row)
	if err != nil {
		return nil, err
	}
	create := driver.CreateOptions{View: row.Kind == meta.View && len(above) > 0, Size: c.size, IDMap: c.idmap, Note: note}
	err = s.driver.Create(ctx, layerOf(row), above, create)
	if errors.Is(err, driver.ErrExists) {
		return nil, taken(row)
	}
	if err != nil {
		if row.Parent != "" {
			err = s.damaged(ctx, row.Parent, err)
		}
		return nil, classify(fmt.Errorf("make snapshot %q: %w", row.Name, err))
	}
	if c.mounted {
		if mounts, err = s.mounts(ctx, row, driver.MountOptions{}); err != nil {
			return nil, err
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	row.State = meta.Ready
	err = s.update("activate", func(tx *meta.Tx) error { return tx.UpdateSnapshot(row) })
	return mounts, err
}

// errTaken: a layer already exists with the ID of a layer that was to be made.
var errTaken = errors.New("something else has the name")

// taken wraps errTaken for a row. Its kind is not ErrAlreadyExists, because
// engines would then use the snapshot as if it existed. A new attempt gets
// another layer ID.
func taken(row meta.Snapshot) error {
	return fail(errdefs.ErrUnavailable, "make snapshot %q: %w of layer %s: try again", row.Name, errTaken, row.Layer)
}

// discard removes the layer and the row of a snapshot that does not exist for
// callers: its creation failed, or its removal was interrupted. What fails here
// is tried again when the key is used again or the store is opened.
func (s *Snapshotter) discard(ctx context.Context, row meta.Snapshot) error {
	ctx = context.WithoutCancel(ctx)
	if spare, err := s.outlived(ctx, row); err != nil {
		return err
	} else if spare {
		s.log.WarnContext(ctx, "the database is older than this layer, which was finished since: it stays, and is no snapshot until it is repaired",
			"key", row.Name, "layer", row.Layer)
		s.sound.Store(false)
		return s.forget(row)
	}
	if err := s.removeLayer(ctx, row); err != nil {
		return classify(fmt.Errorf("remove the layer of snapshot %q: %w", row.Name, err))
	}
	s.cleanLater(ctx)
	return s.forget(row)
}

// outlived reports whether a layer is newer than its pending or removing row.
// That happens when an older copy of the database was put back. The layer must
// then stay.
func (s *Snapshotter) outlived(ctx context.Context, row meta.Snapshot) (bool, error) {
	r, ok := s.driver.(driver.Recorder)
	if !ok || row.Foreign || row.Store != "" {
		return false, nil
	}
	record, err := r.Record(ctx, layerOf(row))
	if err != nil {
		return false, nil //nolint:nilerr // a layer with an unreadable record is not finished
	}
	if row.State == meta.Pending && record.Sealed {
		return true, nil
	}
	c, ok, err := readCard(record)
	if err != nil || !ok {
		return false, nil //nolint:nilerr // without a card there is no generation to compare
	}
	var generation uint64
	err = s.view(func(tx *meta.Tx) (err error) {
		generation, err = tx.Generation()
		return err
	})
	return c.Generation > generation, err
}

// forget removes the row of a snapshot that does not exist for callers.
func (s *Snapshotter) forget(row meta.Snapshot) error {
	return s.free("discard", func(tx *meta.Tx) error { return tx.DeleteSnapshot(row.Name) })
}

// settle finishes what an earlier call left on a name. The caller has locked
// the name, so no call is working on a row there that is not ready.
func (s *Snapshotter) settle(ctx context.Context, name string) error {
	var stale *meta.Snapshot
	err := s.view(func(tx *meta.Tx) error {
		row, err := tx.Snapshot(name)
		if errors.Is(err, meta.ErrNotFound) || err == nil && (row.State == meta.Ready || row.State == meta.Aside) {
			return nil
		}
		stale = &row
		return err
	})
	if err != nil || stale == nil {
		return err
	}
	return s.discard(ctx, *stale)
}
