package snapshotter

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"github.com/containerd/errdefs"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

// Rename gives a snapshot of any kind another name. Its layer stays where it
// is, so mounts are not affected. Its children have it as their parent under
// the new name. Rename waits for calls that work on the snapshot or its
// children.
//
// Errors match errdefs.ErrNotFound when there is no snapshot called key,
// ErrAlreadyExists when the name is taken, and ErrInvalidArgument when the name
// is not valid. They match ErrFailedPrecondition and [driver.ErrUnsupported]
// for a foreign or borrowed layer, whose snapshot has its name from the other
// engine or store. After an error the snapshot is as before.
func (s *Snapshotter) Rename(ctx context.Context, key, name string) (err error) {
	defer s.observe(Event{Op: OpRename, Key: key, Name: name}).end(&err)
	end, err := s.beginChange()
	if err != nil {
		return err
	}
	defer end()
	for {
		children, err := s.childrenOf(key)
		if err != nil {
			return err
		}
		again, err := s.renameWith(ctx, key, name, children)
		if !again {
			return err
		}
	}
}

// childrenOf returns the names of the children of a snapshot, in every state.
func (s *Snapshotter) childrenOf(key string) (names []string, err error) {
	err = s.view(func(tx *meta.Tx) error {
		row, err := tx.Snapshot(key)
		if errors.Is(err, meta.ErrNotFound) {
			return nil // the transaction of the rename returns the error
		}
		names = tx.Children(row)
		return err
	})
	return names, err
}

// renameWith is Rename while the children are locked. Without the lock, calls
// on them would know their parent by the old name. again is true when there is
// a new child, which is not locked.
func (s *Snapshotter) renameWith(ctx context.Context, key, name string, children []string) (again bool, err error) {
	unlock, err := s.keys.write(ctx, append([]string{name, key}, children...)...)
	if err != nil {
		return false, err
	}
	defer unlock()
	if err := s.settle(ctx, name); err != nil {
		return false, err
	}
	// A snapshot of an additional store gets a row, so that the right error is
	// returned.
	if err := s.borrow(ctx, key); err != nil {
		return false, err
	}
	err = s.streams.rename(key, name, func() error {
		return s.update("rename", func(tx *meta.Tx) error {
			row, err := ready(tx, key)
			if err != nil {
				return err
			}
			for _, child := range tx.Children(row) {
				if !slices.Contains(children, child) {
					again = true
					return errAgain
				}
			}
			return renameRow(tx, row, name)
		})
	})
	if err == nil {
		s.finishRename(context.WithoutCancel(ctx), name)
	}
	return again, err
}

var errAgain = errors.New("another snapshot was made on it meanwhile")

// renameRow renames the row, and the records that have its name.
func renameRow(tx *meta.Tx, row meta.Snapshot, name string) error {
	key := row.Name
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
	was := renamed{Was: key}
	err = tx.GetRecord(recordRenamed, key, &was)
	if err == nil { // the rename before this one is not yet in all records of layers
		err = tx.DeleteRecord(recordRenamed, key)
	}
	if err != nil && !errors.Is(err, meta.ErrNotFound) {
		return err
	}
	return tx.PutRecord(recordRenamed, name, was)
}

// recordRenamed is the kind of the records of unfinished renames. The name of a
// record is the present name of a snapshot. Its value is the earlier name,
// which the records of layers may still contain.
const recordRenamed = "renamed"

type renamed struct {
	Was string `json:"was"`
}

// finishRename writes the present name of a snapshot into the record of its
// layer and into the records of its committed children. So the name is found
// there when the database is lost. After an error the next opening of the store
// tries again. The caller has locked all of these snapshots.
func (s *Snapshotter) finishRename(ctx context.Context, name string) {
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
	if err != nil {
		return err
	}
	errs := []error{s.inscribeFound(ctx, row)}
	children, err := s.childrenOf(name)
	errs = append(errs, err)
	for _, child := range children {
		row, err := s.row(child)
		switch {
		case errdefs.IsNotFound(err): // it is being made or removed
		case err != nil:
			errs = append(errs, err)
		case row.Kind == meta.Committed && !row.Foreign && row.Store == "":
			errs = append(errs, s.inscribeFound(ctx, row))
		}
	}
	return errors.Join(errs...)
}

// inscribeFound is inscribeNow, but returns nil when the layer does not exist.
// A missing layer is damage: a check reports it, and a repair writes a new
// record.
func (s *Snapshotter) inscribeFound(ctx context.Context, row meta.Snapshot) error {
	err := s.inscribeNow(ctx, row)
	if errors.Is(err, driver.ErrNotFound) {
		return nil
	}
	return err
}

// isNamed reports whether a name in the record of a layer belongs to the
// snapshot now. That is its present name, or its name from before a rename that
// is not yet in all records.
func (s *Snapshotter) isNamed(inRecord, now string) bool {
	if inRecord == now {
		return true
	}
	var before renamed
	err := s.view(func(tx *meta.Tx) error { return tx.GetRecord(recordRenamed, now, &before) })
	return err == nil && before.Was == inRecord
}

// finishRenames finishes the renames that a killed process or a full disk left
// unfinished.
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
