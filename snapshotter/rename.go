package snapshotter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

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

// finishRename writes the name that a snapshot has now into the records of
// layers, so that it is found there when the database is lost: into that of its
// own layer, and into those of the committed snapshots on it. What fails is
// tried again when the store is opened.
func (s *Snapshotter) finishRename(ctx context.Context, name string) {
	// Of two renames, of a snapshot and of one on it, the later one to come here
	// reads both names as they are.
	s.renaming.Lock()
	defer s.renaming.Unlock()
	err := s.inscribeNames(ctx, name)
	if err == nil {
		err = s.free("renamed", func(tx *meta.Tx) error { return tx.DeleteRecord(recordRenamed, name) })
	}
	if err != nil {
		s.sound.Store(false)
		s.log.WarnContext(ctx, "records of layers still contain the name that a snapshot had before, until the store is opened again",
			"snapshot", name, "error", err)
	}
}

func (s *Snapshotter) inscribeNames(ctx context.Context, name string) error {
	row, err := s.row(name)
	if errdefs.IsNotFound(err) {
		return nil // it was removed meanwhile
	}
	if err == nil {
		err = s.inscribeNow(ctx, row)
	}
	if err != nil {
		return err
	}
	var children []string
	err = s.view(func(tx *meta.Tx) error {
		children = tx.Children(row)
		return nil
	})
	errs := []error{err}
	for _, child := range children {
		errs = append(errs, s.inscribeChild(ctx, child))
	}
	return errors.Join(errs...)
}

// inscribeChild writes the record of a committed snapshot's layer again.
func (s *Snapshotter) inscribeChild(ctx context.Context, key string) error {
	// Whoever changes it may be waiting for the snapshot that was renamed, so it
	// is not waited for here.
	unlock, ok := s.keys.tryRead(key)
	if !ok {
		return fmt.Errorf("snapshot %q: %w: somebody works on it", key, driver.ErrBusy)
	}
	defer unlock()
	row, err := s.row(key)
	switch {
	case errdefs.IsNotFound(err):
		return nil // it was removed, or is being made or removed
	case err != nil, row.Kind != meta.Committed, row.Foreign, row.Store != "":
		return err
	}
	return s.inscribeNow(ctx, row)
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
