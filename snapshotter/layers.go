package snapshotter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

// Apply unpacks a layer tar, compressed or not, into the active snapshot key,
// without mounting it. See [driver.Driver].ApplyDiff. After an error the
// snapshot is as before.
//
// To unpack the layers of an image at the same time, prepare each without a
// parent, apply it with Detached, and name its parent when you commit it.
func (s *Snapshotter) Apply(ctx context.Context, key string, layer io.Reader, opts driver.ApplyOptions) (driver.Applied, error) {
	return s.applyFrom(ctx, key, "", layer, opts)
}

// Diff writes the changes of a snapshot against its parent as an uncompressed
// layer tar to w, see [driver.Diff]. The snapshot can be of any kind.
func (s *Snapshotter) Diff(ctx context.Context, key string, w io.Writer, opts driver.DiffOptions) (stats diff.Stats, err error) {
	seen := s.observe(Event{Op: OpDiff, Key: key})
	defer seen.end(&err)
	if opts.Warn == nil {
		opts.Warn = func(path, message string) { s.log.WarnContext(ctx, message, "snapshot", key, "path", path) }
	}
	err = s.reading(ctx, key, func(row meta.Snapshot) (err error) {
		stats, err = driver.Diff(ctx, s.driver, layerOf(row), w, opts)
		return err
	})
	if err != nil {
		return diff.Stats{}, fmt.Errorf("diff snapshot %q: %w", key, s.damaged(ctx, key, err))
	}
	seen.Bytes, seen.Entries = stats.Bytes, stats.Added+stats.Modified+stats.Deleted
	return stats, nil
}

// Changes is Diff as a sequence. An error ends it. Until the sequence ends the
// snapshot cannot be changed or removed, also not from inside the loop.
func (s *Snapshotter) Changes(ctx context.Context, key string) iter.Seq2[diff.Change, error] {
	return func(yield func(diff.Change, error) bool) {
		var err error
		defer s.observe(Event{Op: OpChanges, Key: key}).end(&err)
		stopped := false
		err = s.reading(ctx, key, func(row meta.Snapshot) error {
			for change, err := range driver.Changes(ctx, s.driver, layerOf(row), nil) {
				if err != nil {
					return err
				}
				if !yield(change, nil) {
					stopped = true
					return nil
				}
			}
			return nil
		})
		if err != nil && !stopped {
			yield(diff.Change{}, fmt.Errorf("changes of snapshot %q: %w", key, s.damaged(ctx, key, err)))
		}
	}
}

// OpenView opens the merged tree of a snapshot of any kind for reading, without
// mounting it. The caller closes the result, and does not remove the snapshot
// before that.
func (s *Snapshotter) OpenView(ctx context.Context, key string) (diff.View, error) {
	var view diff.View
	err := s.reading(ctx, key, func(row meta.Snapshot) (err error) {
		view, err = s.driver.View(ctx, layerOf(row))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open snapshot %q: %w", key, s.damaged(ctx, key, err))
	}
	return view, nil
}

// Provider returns the name of the snapshot that provides path in the merged
// tree of key: key itself or one of its parents. path has the form of
// [diff.Change] Path. The error matches [driver.ErrUnsupported] when the driver
// is not a [driver.Explainer], and io/fs.ErrNotExist when the path does not
// exist.
func (s *Snapshotter) Provider(ctx context.Context, key, path string) (string, error) {
	name := ""
	err := s.reading(ctx, key, func(row meta.Snapshot) error {
		explainer, ok := s.driver.(driver.Explainer)
		if !ok || !s.driver.Properties().Explain {
			return fmt.Errorf("driver %s cannot tell: %w", s.driver.Name(), driver.ErrUnsupported)
		}
		layer, err := explainer.Provider(ctx, layerOf(row), path)
		if err != nil {
			return err
		}
		name, err = s.nameOf(key, layer)
		return err
	})
	if err != nil {
		return "", classify(fmt.Errorf("provider of %s in snapshot %q: %w", path, key, err))
	}
	return name, nil
}

// nameOf returns the name of the snapshot of a layer, among key and its
// parents.
func (s *Snapshotter) nameOf(key string, layer driver.ID) (name string, err error) {
	err = s.view(func(tx *meta.Tx) error {
		chain, err := tx.Chain(key)
		if err != nil {
			return err
		}
		for _, row := range chain {
			if layerOf(row) == layer {
				name = row.Name
				return nil
			}
		}
		return errors.New("the driver named a layer that is no parent: " + string(layer))
	})
	return name, err
}

// changing begins a call that changes the snapshot. Until done is called, no
// other call changes or reads it.
func (s *Snapshotter) changing(ctx context.Context, key string) (done func(), err error) {
	return s.holding(ctx, key, s.beginChange)
}

// mending is changing for a call that has a dry run. A dry run is allowed in a
// store that is open for reading only.
func (s *Snapshotter) mending(ctx context.Context, key string, dryRun bool) (done func(), err error) {
	if dryRun {
		return s.holding(ctx, key, s.calls.begin)
	}
	return s.changing(ctx, key)
}

func (s *Snapshotter) holding(ctx context.Context, key string, begin func() (end func(), err error)) (done func(), err error) {
	end, err := begin()
	if err != nil {
		return nil, err
	}
	unlock, err := s.keys.write(ctx, key)
	if err != nil {
		end()
		return nil, err
	}
	return func() { unlock(); end() }, nil
}

// reading runs fn while no other call changes or removes the snapshot. It
// returns an error when the snapshot or one of its parents is in an additional
// store that cannot be used.
func (s *Snapshotter) reading(ctx context.Context, key string, fn func(meta.Snapshot) error) error {
	return s.looking(ctx, key, func(row meta.Snapshot) error {
		if err := s.view(func(tx *meta.Tx) error { return s.inReach(tx, key) }); err != nil {
			return err
		}
		return fn(row)
	})
}

// looking is reading for calls that examine damage: it also runs fn when the
// additional store cannot be used.
func (s *Snapshotter) looking(ctx context.Context, key string, fn func(meta.Snapshot) error) error {
	end, err := s.calls.begin()
	if err != nil {
		return err
	}
	defer end()
	unlock, err := s.keys.read(ctx, key)
	if err != nil {
		return err
	}
	defer unlock()
	if err := s.borrow(ctx, key); err != nil {
		return err
	}
	row, err := s.row(key)
	if err != nil {
		return err
	}
	return fn(row)
}
