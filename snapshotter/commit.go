package snapshotter

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
	"github.com/layerkeep/layerkeep/tar"
)

// Commit turns the active snapshot key into the committed snapshot name. The
// snapshot survives a power cut when Commit has returned. Commit records a
// digest of its changes, see Options.DigestLimit. The labels are those of opts,
// without LabelSize and the labels of IDMap; labels of the active snapshot do
// not carry over. With snapshots.WithParent Commit first gives a snapshot
// without a parent a committed parent, if the driver is a [driver.Rebaser].
//
// Errors match:
//
//   - errdefs.ErrAlreadyExists when name is taken;
//   - errdefs.ErrNotFound when key or the parent is missing;
//   - errdefs.ErrFailedPrecondition when key is not active or the parent is not
//     committed, and, with [diff.ErrNotCarried], for a file that no layer can
//     contain;
//   - errdefs.ErrInvalidArgument when key already has another parent;
//   - errdefs.ErrNotImplemented when the driver cannot rebase, and, with
//     [driver.ErrTooManyLayers], when no layer could be made over this one;
//   - [driver.ErrNeedsParents] when the layer must be applied again over its
//     parent, and cannot be read again (see [Scope.ApplyFrom]).
//
// After these errors the snapshot is as before. When the disk fails a write,
// the snapshot stays active and can only be removed. The same is true for all
// active snapshots, because the lost data may belong to any of them. From then
// on they match [driver.ErrTorn].
func (s *Snapshotter) Commit(ctx context.Context, name, key string, opts ...snapshots.Opt) error {
	return s.commit(ctx, name, key, true, opts)
}

// CommitApplied is Commit for a snapshot to which exactly one layer was
// applied, and this layer is still available elsewhere. It records no digest,
// because the layer on disk can be compared with the original.
func (s *Snapshotter) CommitApplied(ctx context.Context, name, key string, opts ...snapshots.Opt) error {
	return s.commit(ctx, name, key, false, opts)
}

func (s *Snapshotter) commit(ctx context.Context, name, key string, digested bool, opts []snapshots.Opt) (err error) {
	seen := s.observe(Event{Op: OpCommit, Key: key, Name: name})
	defer seen.end(&err)
	end, err := s.beginChange()
	if err != nil {
		return err
	}
	defer end()
	info, err := evaluate(opts)
	if err != nil {
		return err
	}
	seen.Parent = info.Parent
	for _, label := range fixedLabels() { // the layer is not written to any more, so they mean nothing
		delete(info.Labels, label)
	}
	unlock, err := s.keys.write(ctx, name, key)
	if err != nil {
		return err
	}
	defer unlock()
	if err := s.settle(ctx, name); err != nil {
		return err
	}
	if err := s.borrow(ctx, info.Parent); err != nil {
		return err
	}
	row, err := s.committable(name, key, info.Parent)
	if err != nil {
		return err
	}
	if err := s.stackable(row, info.Parent); err != nil {
		return err
	}
	if row.Deferred {
		return s.remake(ctx, row, name, info)
	}
	if row.Parent != info.Parent && info.Parent != "" {
		rebased, err := s.rebase(ctx, row, info.Parent)
		if errors.Is(err, driver.ErrNeedsParents) && s.rereadable(row) {
			return s.remake(ctx, row, name, info)
		}
		if err != nil {
			return err
		}
		row = rebased
	}
	if digested {
		err := s.noWriters(ctx, row)
		if err == nil { // carried walks through the layer, so it comes last
			err = s.carried(ctx, row)
		}
		if err != nil {
			return errors.Join(err, s.keepParent(row))
		}
	}
	committed, err := s.seal(ctx, row, committedRow(row, name, info.Labels))
	if err != nil {
		return errors.Join(fmt.Errorf("commit snapshot %q: %w", key, s.damaged(ctx, key, err)), s.keepParent(row))
	}
	if digested && row.Source == "" && !IsExtraction(key) {
		s.digestAt(ctx, &committed)
		if err := s.inscribeDigest(ctx, committed); err != nil {
			return errors.Join(fmt.Errorf("commit snapshot %q: %w", key, s.damaged(ctx, key, err)), s.keepParent(row))
		}
	}
	return s.publish(key, committed)
}

// committedRow returns the row that the row of an active snapshot becomes.
func committedRow(row meta.Snapshot, name string, labels map[string]string) meta.Snapshot {
	row.Name, row.Kind, row.Labels = name, meta.Committed, labels
	row.Source, row.Deferred = "", false
	row.Created = now()
	row.Updated = row.Created
	if row.Rebase != "" {
		row.Parent, row.Rebase = row.Rebase, ""
	}
	return row
}

// seal makes the layer of a row immutable. It returns committed with the disk
// usage of the layer. Once the layer is sealed, a cancelled context does not
// end the call, because a sealed layer cannot become writable again.
func (s *Snapshotter) seal(ctx context.Context, row, committed meta.Snapshot) (meta.Snapshot, error) {
	settler, ok := s.driver.(driver.Settler)
	if ok && row.Source == "" && IsExtraction(row.Name) {
		if err := settler.Settle(ctx, layerOf(row)); err != nil {
			return committed, err
		}
	}
	if err := s.inscribe(ctx, committed); err != nil {
		return committed, err
	}
	if err := s.driver.Seal(ctx, layerOf(row)); err != nil {
		return committed, err
	}
	usage, err := s.driver.Usage(context.WithoutCancel(ctx), layerOf(row))
	committed.Usage = meta.Usage{Bytes: usage.Bytes, Inodes: usage.Inodes}
	return committed, err
}

// noWriters returns an error when a process could still write to the layer of a
// row after it is sealed. It does not check a layer that an engine unpacks,
// because no container runs in that one.
func (s *Snapshotter) noWriters(ctx context.Context, row meta.Snapshot) error {
	finder, ok := s.driver.(driver.WriterFinder)
	if !ok || IsExtraction(row.Name) {
		return nil
	}
	if err := finder.NoWriters(ctx, layerOf(row)); err != nil {
		return classify(fmt.Errorf("commit snapshot %q: %w", row.Name, err))
	}
	return nil
}

// stackable returns an error when no layer could be made over the layer of a
// row. commit calls it before it changes anything: the driver returns this
// error only when it seals.
func (s *Snapshotter) stackable(row meta.Snapshot, parent string) error {
	most := s.driver.Properties().MaxParents
	if most == 0 {
		return nil
	}
	if row.Parent != "" {
		parent = row.Parent
	}
	return s.view(func(tx *meta.Tx) error {
		above, err := s.parents(tx, parent)
		if err != nil {
			return err
		}
		return checkDepth(row.Name, above, most)
	})
}

// checkDepth returns an error for a snapshot whose layer has too many parents
// to be committed.
func checkDepth(key string, above []driver.ID, most int) error {
	if most == 0 || len(above) < most {
		return nil
	}
	return classify(fmt.Errorf("commit snapshot %q: %w: it would be layer %d of its stack, which has at most %d", key, driver.ErrTooManyLayers, len(above)+1, most))
}

// carried returns an error when the layer of a row has a file that no layer tar
// can contain. Committed snapshots must be exportable, and can no longer be
// corrected. carried does not check a layer that an engine has unpacked or that
// has a Source, because it came from a layer tar.
func (s *Snapshotter) carried(ctx context.Context, row meta.Snapshot) error {
	if row.Source != "" || IsExtraction(row.Name) {
		return nil
	}
	err := tar.Check(ctx, driver.Changes(ctx, s.driver, layerOf(row), nil))
	if !errors.Is(err, diff.ErrNotCarried) {
		return nil // sealing returns any other error
	}
	return classify(fmt.Errorf("commit snapshot %q: %w", row.Name, err))
}

// committable checks what can be checked without the disk, in the same order as
// containerd's own stores.
func (s *Snapshotter) committable(name, key, parent string) (row meta.Snapshot, err error) {
	err = s.view(func(tx *meta.Tx) error {
		if _, err := tx.Snapshot(name); !errors.Is(err, meta.ErrNotFound) {
			if err == nil {
				err = fmt.Errorf("snapshot %q: %w", name, meta.ErrExists)
			}
			return err
		}
		if row, err = ready(tx, key); err != nil {
			return err
		}
		if row.Kind != meta.Active {
			return fail(errdefs.ErrFailedPrecondition, "snapshot %q is not active but %s", key, row.Kind)
		}
		if row.Parent != "" && parent != "" && row.Parent != parent {
			return fail(errdefs.ErrInvalidArgument, "snapshot %q has the parent %q: it cannot be changed to %q", key, row.Parent, parent)
		}
		if row.Rebase != "" && row.Rebase != parent {
			return fail(errdefs.ErrFailedPrecondition,
				"a commit of snapshot %q on the parent %q was interrupted: name that parent again, or remove the snapshot", key, row.Rebase)
		}
		return checkParent(tx, parent, errdefs.ErrFailedPrecondition)
	})
	return row, err
}

// publish runs the transaction that makes a sealed layer a committed snapshot.
func (s *Snapshotter) publish(key string, row meta.Snapshot) error {
	return s.streams.rename(key, row.Name, func() error {
		return s.update("commit", func(tx *meta.Tx) error { return tx.RenameSnapshot(key, row) })
	})
}

// rebase gives the layer its parent. First it writes the parent into the row,
// as Rebase. So the parent cannot be removed, and after a crash the row shows
// what happened. The transaction of the commit makes it the parent of the
// snapshot.
func (s *Snapshotter) rebase(ctx context.Context, row meta.Snapshot, parent string) (meta.Snapshot, error) {
	rebaser, ok := s.driver.(driver.Rebaser)
	if !ok || !s.driver.Properties().Rebase {
		return row, classify(fmt.Errorf("driver %s cannot change the parent of snapshot %q on commit: %w",
			s.driver.Name(), row.Name, driver.ErrUnsupported))
	}
	var above []driver.ID
	err := s.update("rebase", func(tx *meta.Tx) (err error) {
		if err := checkParent(tx, parent, errdefs.ErrFailedPrecondition); err != nil {
			return err
		}
		if err := s.inReach(tx, parent); err != nil {
			return err
		}
		if above, err = s.parents(tx, parent); err != nil {
			return err
		}
		row, err = setRebase(tx, row.Name, parent)
		return err
	})
	if err != nil {
		return row, err
	}
	if err := rebaser.Rebase(ctx, layerOf(row), above); err != nil {
		err = classify(fmt.Errorf("put snapshot %q on its parent %q: %w", row.Name, parent, err))
		undo := s.free("rebase undo", func(tx *meta.Tx) error {
			_, err := setRebase(tx, row.Name, "")
			return err
		})
		return row, errors.Join(err, undo)
	}
	return row, nil
}

func setRebase(tx *meta.Tx, key, parent string) (meta.Snapshot, error) {
	row, err := ready(tx, key)
	if err != nil {
		return row, err
	}
	row.Rebase = parent
	return row, tx.UpdateSnapshot(row)
}

// keepParent is called when a commit fails after its rebase. It records that
// the layer of the still active snapshot now has its parent.
func (s *Snapshotter) keepParent(row meta.Snapshot) error {
	if row.Rebase == "" {
		return nil
	}
	return s.free("rebase done", func(tx *meta.Tx) error {
		row, err := ready(tx, row.Name)
		if err != nil {
			return err
		}
		row.Parent, row.Rebase = row.Rebase, ""
		return tx.UpdateSnapshot(row)
	})
}
