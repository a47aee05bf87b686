package snapshotter

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"sync"

	"github.com/containerd/errdefs"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/errkind"
)

// MaxAdditional is the largest number of additional stores of one store.
const MaxAdditional = 16

// storeIDs matches the IDs that a store can have. An ID becomes the beginning
// of layer IDs and appears in messages, so the ID of an additional store is
// checked before it is used.
var storeIDs = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^[A-Za-z0-9]{16,64}$`)
})

// Additional returns the open additional stores, in the order in which they are
// searched, see Options.Additional. They are closed with s.
func (s *Snapshotter) Additional() []*Snapshotter { return s.others }

// ID returns the ID of the store. It is empty when the disk had no room for
// one.
func (s *Snapshotter) ID() string { return s.id }

// Lender returns the ID of the additional store that a snapshot is borrowed
// from, empty for a snapshot of this store.
func (s *Snapshotter) Lender(_ context.Context, key string) (string, error) {
	end, err := s.calls.begin()
	if err != nil {
		return "", err
	}
	defer end()
	row, err := s.row(key)
	return row.Store, err
}

// openAdditional opens the additional stores. When one cannot be opened now,
// for example because its disk is not there, openAdditional logs that and
// returns nil: only the snapshots over its snapshots cannot be used. It returns
// an error for a mistake of the caller.
func (s *Snapshotter) openAdditional(ctx context.Context, opts Options) error {
	if n := len(opts.Additional); n > MaxAdditional {
		return fail(errdefs.ErrInvalidArgument, "%d additional stores, at most %d", n, MaxAdditional)
	}
	for _, dir := range opts.Additional {
		err := s.addStore(ctx, dir, opts)
		var later notNow
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.As(err, &later):
			s.log.WarnContext(ctx, "additional store cannot be used now, nor what stands on it", "root", dir, "error", later.error)
		case err != nil:
			return fmt.Errorf("additional store %s: %w", dir, err)
		}
	}
	return nil
}

// notNow wraps an error that may not occur the next time.
type notNow struct{ error }

func (s *Snapshotter) addStore(ctx context.Context, dir string, opts Options) error {
	borrower, ok := s.driver.(driver.Borrower)
	if !ok {
		return classify(fmt.Errorf("%w: driver %s cannot stand on layers of another store: import the image", driver.ErrUnsupported, s.driver.Name()))
	}
	root, err := makeRoot(dir, true)
	if err != nil {
		return notNow{err}
	}
	if err := s.otherPlace(root); err != nil {
		return err
	}
	head, err := readHeader(root)
	if err != nil {
		return notNow{err}
	}
	if head.Driver != s.driver.Name() {
		return fmt.Errorf("%w: it was made with %s, this one with %s: import the image", ErrOtherDriver, head.Driver, s.driver.Name())
	}
	other, err := Open(ctx, root, Options{
		ReadOnly: true, LockTimeout: opts.LockTimeout, Logger: opts.Logger, open: opts.open,
		DriverOptions: driver.Options{Logger: opts.DriverOptions.Logger, Fallbacks: opts.DriverOptions.Fallbacks},
	})
	if err != nil {
		return notNow{err}
	}
	if err = s.otherID(other); err == nil {
		place, ok := other.driver.(driver.Placer)
		if !ok {
			return errors.Join(classify(fmt.Errorf("%w: its layers are in no one directory", driver.ErrUnsupported)), other.Close())
		}
		err = classify(borrower.Borrow(other.id, place.Place(), head.Found))
		if err != nil && !errors.Is(err, driver.ErrUnsupported) {
			err = notNow{err}
		}
	}
	if err != nil {
		return errors.Join(err, other.Close())
	}
	s.others = append(s.others, other)
	return nil
}

// otherPlace returns an error for a directory that is this store or is already
// an additional store.
func (s *Snapshotter) otherPlace(root string) error {
	info, err := os.Stat(root)
	if err != nil {
		return notNow{err}
	}
	for _, open := range append([]*Snapshotter{s}, s.others...) {
		known, err := os.Stat(open.root)
		if err == nil && os.SameFile(info, known) {
			return s.twice(open)
		}
	}
	return nil
}

// twice returns the error for a store that is already open.
func (s *Snapshotter) twice(open *Snapshotter) error {
	if open == s {
		return fail(errdefs.ErrInvalidArgument, "it is the store %s itself, or a copy of it", s.root)
	}
	return fail(errdefs.ErrInvalidArgument, "it is given twice, as %s too, or one is a copy of the other", open.root)
}

// otherID returns an error for a store whose ID is missing or malformed, or is
// also the ID of another open store: its layers could be mistaken for those of
// the other.
func (s *Snapshotter) otherID(other *Snapshotter) error {
	switch {
	case other.id == "":
		return fail(errdefs.ErrFailedPrecondition, "it has no ID, as it was made by an earlier version: open it once for writing")
	case !storeIDs().MatchString(other.id):
		return errkind.As(fmt.Errorf("%w: its ID %q cannot be one", ErrDamaged, other.id), errdefs.ErrDataLoss)
	case other.id == s.id:
		return s.twice(s)
	}
	if open := s.store(other.id); open != nil {
		return s.twice(open)
	}
	return nil
}

// store returns the additional store with this ID, or nil.
func (s *Snapshotter) store(id string) *Snapshotter {
	for _, other := range s.others {
		if other.id == id {
			return other
		}
	}
	return nil
}

// closeAdditional closes the additional stores.
func (s *Snapshotter) closeAdditional() error {
	var errs []error
	for _, other := range s.others {
		errs = append(errs, other.Close())
	}
	s.others = nil
	return errors.Join(errs...)
}
