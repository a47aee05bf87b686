package snapshotter

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/containerd/errdefs"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

// Rename gives a snapshot of any kind another name. Its layer stays in place,
// so mounts go on. Snapshots above it have it as their parent under the new
// name.
//
// Errors match:
//
//   - errdefs.ErrNotFound when there is no snapshot key;
//   - errdefs.ErrAlreadyExists when the name is taken;
//   - errdefs.ErrInvalidArgument when the name is malformed;
//   - errdefs.ErrFailedPrecondition and [driver.ErrUnsupported] for a layer of
//     another engine or store, which decides its name.
//
// After an error the snapshot is as before.
func (s *Snapshotter) Rename(ctx context.Context, key, name string) (err error) {
	defer s.observe(Event{Op: OpRename, Key: key, Name: name}).end(&err)
	end, err := s.beginChange()
	if err != nil {
		return err
	}
	defer end()
	unlock, err := s.keys.write(ctx, name, key)
	if err != nil {
		return err
	}
	defer unlock()
	if err := s.settle(ctx, name); err != nil {
		return err
	}
	if err := s.borrow(ctx, key); err != nil { // so that it is refused by what it is
		return err
	}
	var row meta.Snapshot
	err = s.streams.rename(key, name, func() error {
		return s.update("rename", func(tx *meta.Tx) (err error) {
			if row, err = ready(tx, key); err != nil {
				return err
			}
			if row.Foreign || row.Store != "" {
				return fail(errdefs.ErrFailedPrecondition, "rename snapshot %q: %w: it has its name from where its layer was made", key, driver.ErrUnsupported)
			}
			q, err := quarantineOf(tx, key)
			if err != nil {
				return err
			}
			row.Name, row.Updated = name, now()
			if err := tx.RenameSnapshot(key, row); err != nil {
				return err
			}
			if q != nil {
				if err := errors.Join(tx.PutRecord(recordQuarantine, name, q), endQuarantine(tx, key)); err != nil {
					return err
				}
			}
			return tx.PutRecord(recordRenamed, name, struct{}{})
		})
	})
	if err != nil {
		return err
	}
	s.finishRename(context.WithoutCancel(ctx), name)
	return nil
}

// recordRenamed is the kind of the records that say, by the names that
// snapshots have now, of which the layers' records may tell the names before.
const recordRenamed = "renamed"

// finishRename has the records of layers tell the name that a snapshot has now,
// so that who opens the store without its database finds it there: that of its
// own, and those of the committed snapshots on it. What fails is tried again
// when the store is opened.
func (s *Snapshotter) finishRename(ctx context.Context, name string) {
	var rows []meta.Snapshot
	err := s.view(func(tx *meta.Tx) error {
		row, err := tx.Snapshot(name)
		if errors.Is(err, meta.ErrNotFound) {
			return nil // it was removed meanwhile
		}
		if err != nil {
			return err
		}
		rows = append(rows, row)
		for _, child := range tx.Children(row) {
			row, err := tx.Snapshot(child)
			if err != nil {
				return err
			}
			rows = append(rows, row)
		}
		return nil
	})
	for i, row := range rows {
		ours := row.State == meta.Ready && !row.Foreign && row.Store == ""
		if ours && (i == 0 || row.Kind == meta.Committed) {
			err = errors.Join(err, s.inscribeNow(ctx, row))
		}
	}
	if err == nil {
		err = s.free("renamed", func(tx *meta.Tx) error { return tx.DeleteRecord(recordRenamed, name) })
	}
	if err != nil {
		s.sound.Store(false)
		s.log.WarnContext(ctx, "records of layers still tell the name that a snapshot had before, until the store is opened again",
			"snapshot", name, "error", err)
	}
}

// isRenamed reports whether one of the snapshots was renamed and finishRename
// has still to do its work. When nobody can tell, it was not.
func (s *Snapshotter) isRenamed(names ...string) (is bool) {
	_ = s.view(func(tx *meta.Tx) error {
		for _, name := range names {
			var none struct{}
			is = is || name != "" && tx.GetRecord(recordRenamed, name, &none) == nil
		}
		return nil
	})
	return is
}

// finishRenames is finishRename for what a killed process, or a full disk, has
// left to do.
func (s *Snapshotter) finishRenames(ctx context.Context) error {
	var names []string
	err := s.view(func(tx *meta.Tx) error {
		return tx.WalkRecords(recordRenamed, func(name string, _ json.RawMessage) error {
			names = append(names, name)
			return nil
		})
	})
	if err != nil {
		return err
	}
	for _, name := range names {
		s.finishRename(ctx, name)
	}
	return ctx.Err()
}
