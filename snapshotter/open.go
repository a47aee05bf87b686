package snapshotter

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/driver/all"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

const metaName = "meta.db"

// openDriver opens the driver called name, or the best one when name is empty,
// for the store in root.
type openDriver func(ctx context.Context, root, name string, opts driver.Options) (driver.Driver, error)

// Open opens the store in root, and makes one when root is missing or empty. It
// finishes or undoes what a crash has interrupted.
//
// Returns ErrLocked when another process keeps the store open, ErrOtherDriver
// when opts ask for another driver than the store's, ErrNewerStore, ErrNotStore
// for a root that is something else, ErrForeign for one with layers of another
// engine when opts do not name the driver that reads them, ErrDamaged, [driver.ErrUnsupported] when
// the driver, or any driver, cannot work here, and an *fs.PathError when root
// cannot be written. The store is as before then.
func Open(ctx context.Context, root string, opts Options) (*Snapshotter, error) {
	s := &Snapshotter{log: opts.Logger, observer: opts.Observer, hook: opts.hook}
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
		s.bg.wait() // it must not touch what the next owner of the lock makes
		return nil, errors.Join(fmt.Errorf("open store %s: %w", root, err), s.release())
	}
	return s, nil
}

// open fills s; what it has opened when it fails is released by the caller.
func (s *Snapshotter) open(ctx context.Context, root string, opts Options) error {
	root, shared, err := prepareRoot(root, opts.Driver)
	if err != nil {
		return err
	}
	s.root = root
	if s.lock, err = lockStore(ctx, s.root, opts.Address, opts.LockTimeout); err != nil {
		return err
	}
	head, err := readHeader(s.root)
	fresh := errors.Is(err, fs.ErrNotExist)
	if err != nil && !fresh {
		return err
	}
	if !fresh {
		if opts.Driver != "" && opts.Driver != head.Driver {
			return fmt.Errorf("%w: it was made with %s, not %s", ErrOtherDriver, head.Driver, opts.Driver)
		}
		opts.Driver = head.Driver
	}
	if err := s.openMeta(fresh); err != nil {
		return err
	}
	if s.driver, err = opts.open(ctx, s.root, opts.Driver, opts.DriverOptions); err != nil {
		return classify(err)
	}
	if fresh {
		// Last, so that a header means that the metadata is there, and that a
		// missing database is never taken for an empty one.
		if err := writeHeader(s.root, header{Format: formatVersion, Driver: s.driver.Name(), Shared: shared}); err != nil {
			return err
		}
	}
	return s.recover(ctx)
}

func (s *Snapshotter) openMeta(fresh bool) (err error) {
	path := filepath.Join(s.root, metaName)
	if !fresh {
		if _, err := os.Lstat(path); err != nil {
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		}
	}
	s.db, err = meta.Open(path)
	if errors.Is(err, meta.ErrNewer) {
		return fmt.Errorf("%w: %w", ErrNewerStore, err)
	}
	if errors.Is(err, meta.ErrDamaged) {
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

// Close waits for running calls and background work and releases the store.
// Mounts stay. Idempotent.
func (s *Snapshotter) Close() error {
	if !s.calls.close() {
		return nil
	}
	s.bg.wait()
	return s.release()
}

// release closes what is open, the lock last.
func (s *Snapshotter) release() error {
	var errs []error
	if s.driver != nil {
		errs = append(errs, s.driver.Close())
	}
	if s.db != nil {
		errs = append(errs, s.db.Close())
	}
	if s.lock != nil {
		errs = append(errs, s.lock.release())
	}
	return errors.Join(errs...)
}
