package snapshotter

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"

	"github.com/containerd/errdefs"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/driver/all"
	"github.com/layerkeep/layerkeep/internal/durable"
	"github.com/layerkeep/layerkeep/internal/errkind"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

const metaName = "meta.db"

// openDriver opens a driver for the store in root: the driver called name, or
// the best one when name is empty.
type openDriver func(ctx context.Context, root, name string, opts driver.Options) (driver.Driver, error)

// Open opens the store in the directory root. It makes a store when root is
// missing or empty. It completes or undoes what a crash interrupted. It keeps
// layers that no snapshot has, and logs them.
//
// A store on a read-only file system is opened as with Options.ReadOnly.
//
// Open returns:
//
//   - [ErrLocked] when another process keeps the store open;
//   - [ErrOtherDriver] when opts.Driver is not the driver of the store;
//   - [ErrNewerStore] for a store that a newer version has written;
//   - [ErrNotStore] when root is something else;
//   - [ErrForeign] when root has layers of another engine, and opts.Driver does
//     not name the driver that reads them;
//   - [ErrUnsafe] when files of the store could be changed by another user;
//   - [ErrDamaged] when files of the store are damaged or missing;
//   - [driver.ErrUnsupported] when the driver, or every driver, cannot work
//     here;
//   - an *fs.PathError when root cannot be written, or does not exist and would
//     be opened for reading only.
//
// After an error the store is as before.
func Open(ctx context.Context, root string, opts Options) (*Snapshotter, error) {
	s := &Snapshotter{log: opts.Logger, observer: opts.Observer, hook: opts.hook, digestLimit: opts.DigestLimit}
	if s.digestLimit == 0 {
		s.digestLimit = DefaultDigestLimit
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if opts.DriverOptions.Logger == nil {
		opts.DriverOptions.Logger = opts.Logger
	}
	if opts.open == nil {
		opts.open = s.selectDriver
	}
	if err := s.open(ctx, root, opts); err != nil {
		s.bg.wait() // or it could touch what the next owner of the lock makes
		return nil, errors.Join(fmt.Errorf("open store %s: %w", root, err), s.release())
	}
	return s, nil
}

// open fills s. After an error the caller releases what open has opened.
func (s *Snapshotter) open(ctx context.Context, root string, opts Options) error {
	root, shared, err := prepareRoot(root, opts)
	if err != nil {
		return err
	}
	s.root = root
	denied, err := s.takeLock(ctx, opts)
	if err != nil {
		return err
	}
	if s.readOnly {
		return s.openForReading(ctx, opts, denied)
	}
	head, err := readHeader(s.root)
	fresh := errors.Is(err, fs.ErrNotExist)
	if err != nil && !fresh {
		return err
	}
	if fresh {
		err = checkNothingLost(s.root)
	} else {
		err = opts.existing(head)
	}
	if err != nil {
		return err
	}
	if err := s.openMeta(fresh); err != nil {
		return err
	}
	id := head.ID
	if err := s.identify(ctx, &head); err != nil {
		return err
	}
	before := stampOf(s.root, head.Driver)
	if s.driver, err = opts.open(ctx, s.root, opts.Driver, opts.DriverOptions); err != nil {
		return classify(err)
	}
	if fresh {
		// The header is written last. So a store with a header also has a database, and
		// a missing database is never taken for an empty one.
		head.Format, head.Driver, head.Shared = formatVersion, s.driver.Name(), shared
		head.find(s.driver)
		if err := writeHeader(s.root, head); err != nil {
			return err
		}
	} else if err := s.remember(ctx, head, head.ID != id); err != nil {
		return err
	}
	s.id = head.ID
	s.removeStale(ctx)
	if err := s.openAdditional(ctx, opts); err != nil {
		return err
	}
	s.keepRoom(ctx)
	if !fresh && !opts.restoring && s.undisturbed(before) {
		s.inOrder = true
		s.sound.Store(true)
		s.tidy.Store(true)
		s.cleanLater(ctx)
		return nil
	}
	return s.recover(ctx, opts.restoring)
}

// removeStale removes temporary files beside the database that killed processes
// left.
func (s *Snapshotter) removeStale(ctx context.Context) {
	if err := durable.RemoveStale(s.root, rebuiltName); err != nil {
		s.log.WarnContext(ctx, "temporary files of killed processes stay", "error", err)
	}
}

// checkNothingLost returns an error for a root that has layers of this program,
// with or without their records, but no header. It was a store. A new store in
// it would have none of its snapshots.
func checkNothingLost(root string) error {
	name, err := all.DriverOf(root)
	if err != nil {
		return err
	}
	if name != "" {
		return fmt.Errorf("%w: it has layers in %s and no %s", ErrDamaged, filepath.Join(root, name), headerName)
	}
	return nil
}

// openMeta opens the database. For a fresh store it makes the database, or
// takes the one that an interrupted first opening left; that one must contain
// no snapshots.
func (s *Snapshotter) openMeta(fresh bool) (err error) {
	path := filepath.Join(s.root, metaName)
	if !fresh {
		s.db, err = meta.Open(path)
		return openedMeta(err)
	}
	if s.db, err = meta.Create(path); err != nil {
		return openedMeta(err)
	}
	return openedMeta(s.db.View(func(tx *meta.Tx) error {
		return tx.WalkSnapshots(func(row meta.Snapshot) error {
			return fmt.Errorf("%w: %s names snapshots, such as %q, and there is no %s", meta.ErrDamaged, metaName, row.Name, headerName)
		})
	}))
}

// openedMeta gives an error of opening the database the matching error of this
// package.
func openedMeta(err error) error {
	switch {
	case errors.Is(err, meta.ErrNewer):
		return fmt.Errorf("%w: %w", ErrNewerStore, err)
	case errors.Is(err, meta.ErrInUse): // by a process that reads a store without a lock file
		return errkind.As(fmt.Errorf("%w: %w", ErrLocked, err), errdefs.ErrUnavailable)
	case errors.Is(err, meta.ErrDamaged), errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return err
}

func (s *Snapshotter) selectDriver(ctx context.Context, root, name string, opts driver.Options) (driver.Driver, error) {
	d, rejected, err := all.Select(ctx, root, name, opts)
	for _, r := range rejected {
		s.log.InfoContext(ctx, "driver passed over", "driver", r.Name, "reason", r.Err)
	}
	return d, err
}

// Close waits for running calls and for work in the background, and releases
// the store. Mounts stay mounted. Idempotent.
func (s *Snapshotter) Close() error {
	if !s.calls.close() {
		return nil
	}
	s.bg.wait()
	return s.release()
}

// release closes everything that is open, the lock last.
func (s *Snapshotter) release() error {
	var errs []error
	if s.driver != nil {
		errs = append(errs, s.driver.Close())
	}
	if s.db != nil {
		if errors.Join(errs...) == nil {
			s.compact(context.Background())
			s.leaveMark()
		}
		errs = append(errs, s.db.Close())
	}
	errs = append(errs, s.closeAdditional())
	if s.lock != nil {
		errs = append(errs, s.lock.release())
	}
	return errors.Join(errs...)
}
