package snapshotter

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"syscall"

	"github.com/containerd/errdefs"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/errkind"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

// errReadOnly is ErrReadOnly with its kind.
var errReadOnly = errkind.As(ErrReadOnly, errdefs.ErrFailedPrecondition)

// beginChange is calls.begin for a call that changes something.
func (s *Snapshotter) beginChange() (end func(), err error) {
	if s.readOnly {
		return nil, errReadOnly
	}
	return s.calls.begin()
}

// takeLock takes the lock of the store for writing. It takes the lock for
// reading when opts says so, or when the file system refuses writes. It learns
// the latter by opening the lock file, because no flag of a mount shows it
// reliably. denied is the error of that attempt.
func (s *Snapshotter) takeLock(ctx context.Context, opts Options) (denied, err error) {
	if opts.locked != nil {
		s.lock = opts.locked
		return nil, nil
	}
	if !opts.ReadOnly {
		s.lock, err = lockStore(ctx, s.root, opts.Address, opts.LockTimeout)
		if !errors.Is(err, syscall.EROFS) {
			return nil, err
		}
		denied = err
	}
	s.readOnly = true
	s.lock, err = lockForReading(ctx, s.root, opts.LockTimeout)
	return denied, err
}

// openForReading opens a store in which nothing may change. What interrupted
// calls left stays. Its rows are not ready, so callers do not see it.
//
// denied is the error of opening the store for writing, and nil when
// Options.ReadOnly is set.
func (s *Snapshotter) openForReading(ctx context.Context, opts Options, denied error) error {
	head, err := readHeader(s.root)
	if errors.Is(err, fs.ErrNotExist) {
		if err := checkNothingLost(s.root); err != nil {
			return err
		}
		if denied != nil { // the caller asked for a new store
			return denied
		}
		return errkind.As(fmt.Errorf("%w: it has no %s, and a store that is read-only cannot be made", ErrNotStore, headerName), ErrReadOnly)
	}
	if err != nil {
		return err
	}
	if err := opts.existing(head); err != nil {
		return err
	}
	if denied != nil {
		s.log.WarnContext(ctx, "the file system of the store is read-only, so the store is open for reading alone", "root", s.root)
	}
	opts.DriverOptions.ReadOnly = true
	if s.db, err = meta.OpenReadOnly(filepath.Join(s.root, metaName)); err != nil {
		return openedMeta(err)
	}
	if err := s.recognize(ctx, &head); err != nil {
		return err
	}
	s.id = head.ID
	before := stampOf(s.root, head.Driver)
	if s.driver, err = opts.open(ctx, s.root, opts.Driver, opts.DriverOptions); err != nil {
		return classify(err)
	}
	// The additional stores serve snapshots that are already borrowed. No more can
	// be borrowed, because that would need new rows.
	if err := s.openAdditional(ctx, opts); err != nil {
		return err
	}
	if s.undisturbed(before) {
		s.inOrder = true
		return nil
	}
	_, err = s.survey(ctx)
	return err
}

// existing sets the options for the driver that the header names.
func (o *Options) existing(head header) error {
	if o.Driver != "" && o.Driver != head.Driver {
		return fmt.Errorf("%w: it was made with %s, not %s", ErrOtherDriver, head.Driver, o.Driver)
	}
	o.Driver = head.Driver
	o.DriverOptions.Existing, o.DriverOptions.Known = true, head.known()
	return nil
}

// A survey is what Open finds in a store.
type survey struct {
	rows    []meta.Snapshot
	foreign []driver.Foreign
	// unnamed are the layers that no row names.
	unnamed map[driver.ID]bool
	// missing: the layer of a row does not exist.
	missing bool
}

// survey compares rows and layers, and logs the missing layers. It changes
// nothing.
func (s *Snapshotter) survey(ctx context.Context) (found survey, err error) {
	err = s.view(func(tx *meta.Tx) (err error) {
		if found.rows, err = allRows(tx); err != nil {
			return err
		}
		return tx.CheckRows(found.rows)
	})
	if err != nil {
		return found, err
	}
	layers, err := s.driver.Layers(ctx)
	if err != nil {
		return found, classify(fmt.Errorf("list layers: %w", err))
	}
	if found.foreign, err = s.foreign(ctx); err != nil {
		return found, err
	}
	there := map[driver.ID]bool{}
	found.unnamed = map[driver.ID]bool{}
	for _, f := range found.foreign {
		there[f.ID] = true
	}
	for _, id := range layers {
		there[id], found.unnamed[id] = true, true
	}
	for _, row := range found.rows {
		if row.State == meta.Ready && row.Store == "" && !there[layerOf(row)] {
			found.missing = true
			s.log.WarnContext(ctx, "layer of snapshot is missing", "name", row.Name, "kind", row.Kind, "layer", row.Layer)
		}
		delete(found.unnamed, layerOf(row))
		delete(found.unnamed, driver.ID(row.Spare))
	}
	return found, nil
}
