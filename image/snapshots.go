package image

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/errkind"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

// An InUseError says that a snapshot belongs to an image.
type InUseError struct {
	// Image is the name of the image, or one of several names.
	Image string
}

// Error returns a text with the name of the image.
func (e *InUseError) Error() string { return fmt.Sprintf("it is the image %q", e.Image) }

// Unwrap returns the class of the error: a snapshot in the wrong state.
func (e *InUseError) Unwrap() error { return errdefs.ErrFailedPrecondition }

// RemoveSnapshot removes a snapshot, see [snapshotter.Snapshotter.Remove]. It
// returns an [InUseError] for a snapshot of an image, and an error that matches
// [driver.ErrBusy] for a snapshot that a running import or export needs.
func (s *Store) RemoveSnapshot(ctx context.Context, key string) error {
	return s.unneeded(ctx, key, func() error { return s.snaps.Remove(ctx, key) })
}

// RenameSnapshot renames a snapshot, see [snapshotter.Snapshotter.Rename]. It
// returns the errors of RemoveSnapshot, and one that matches
// errdefs.ErrFailedPrecondition for a snapshot that an import made: images, and
// later imports, find their layers by name.
func (s *Store) RenameSnapshot(ctx context.Context, key, name string) error {
	return s.unneeded(ctx, key, func() error {
		err := s.snaps.DB().View(func(tx *meta.Tx) error {
			row, err := tx.Snapshot(key)
			switch {
			case errors.Is(err, meta.ErrNotFound):
				return nil // the snapshotter returns this error
			case err != nil:
				return err
			case row.Labels[LabelImporting] != "":
				return fmt.Errorf("rename snapshot %q: %w: an import is filling it", key, driver.ErrBusy)
			case isLayer(row):
				return errkind.As(fmt.Errorf("rename snapshot %q: it is a layer of an image, and images find their layers by name", key), errdefs.ErrFailedPrecondition)
			}
			return nil
		})
		if err != nil {
			return err
		}
		return s.snaps.Rename(ctx, key, name)
	})
}

// unneeded calls do if no image shows the snapshot and no import or export
// needs it. Until do returns, no import or export can begin to use the
// snapshot.
func (s *Store) unneeded(ctx context.Context, key string, do func() error) error {
	if err := s.changeable(); err != nil {
		return err
	}
	for {
		gen := s.pins.generation()
		images, err := s.own(ctx)
		if err != nil {
			return err
		}
		for _, img := range images {
			if img.Snapshot == key {
				return &InUseError{Image: img.Name}
			}
		}
		ok, stale := s.pins.claim(snapPin(key), gen)
		switch {
		case stale:
			continue
		case !ok:
			return fmt.Errorf("snapshot %q: %w: an import or an export needs it", key, driver.ErrBusy)
		}
		defer s.pins.gone(snapPin(key))
		return do()
	}
}
