package snapshotter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

// A Reopen opens a layer for a second reading. source is the text that was
// given to [Scope.ApplyFrom] at the first reading. The returned options are for
// applying it; Detached in them has no effect. The context belongs to the
// commit that needs the layer.
type Reopen func(ctx context.Context, source string) (io.ReadCloser, driver.ApplyOptions, error)

// sources has, for each scope, the function that reads its layers again. The
// zero value is ready for use.
type sources struct {
	mu     sync.Mutex
	reopen map[string]Reopen
}

func (s *sources) set(scope string, fn Reopen) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reopen == nil {
		s.reopen = map[string]Reopen{}
	}
	s.reopen[scope] = fn
}

// of returns the function for the scope of a snapshot, or nil.
func (s *sources) of(key string) Reopen {
	scope, _ := ScopeOf(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reopen[scope]
}

// OnReopen sets the function that opens layers again for [Scope.ApplyFrom].
// Each call replaces the function of the call before; nil removes it.
func (sc *Scope) OnReopen(fn Reopen) { sc.s.sources.set(sc.name, fn) }

// ApplyFrom is [Snapshotter.Apply] in the scope, for a layer that can be read
// again later. source says where from, as text for the function of
// [Scope.OnReopen]. The row of the snapshot keeps it until the commit.
//
// A layer that was applied with Detached and turns out to need its parents
// gives [driver.ErrNeedsParents] here too. But the snapshot can still be
// committed: Commit, which names the parent, reads the layer again and applies
// it. Until then the snapshot contains nothing of the layer. Another apply
// forgets source.
func (sc *Scope) ApplyFrom(ctx context.Context, key, source string, layer io.Reader, opts driver.ApplyOptions) (driver.Applied, error) {
	return sc.s.applyFrom(ctx, sc.Full(key), source, layer, opts)
}

func (s *Snapshotter) applyFrom(ctx context.Context, key, source string, layer io.Reader, opts driver.ApplyOptions) (applied driver.Applied, err error) {
	seen := s.observe(Event{Op: OpApply, Key: key})
	defer seen.end(&err)
	done, err := s.changing(ctx, key)
	if err != nil {
		return driver.Applied{}, err
	}
	defer done()
	row, err := s.writable(key)
	if err != nil {
		return driver.Applied{}, err
	}
	opts.Fresh = opts.Fresh || IsExtraction(key)
	if applied, err = s.driver.ApplyDiff(ctx, layerOf(row), layer, opts); err != nil {
		err = fmt.Errorf("apply a layer to snapshot %q: %w", key, s.damaged(ctx, key, err))
		if opts.Detached && source != "" && errors.Is(err, driver.ErrNeedsParents) {
			err = errors.Join(err, s.setSource(row, source, true))
		}
		return driver.Applied{}, err
	}
	seen.Bytes, seen.Entries = applied.Bytes, applied.Entries
	return applied, s.setSource(row, source, false)
}

// setSource records where the layer of a snapshot came from.
func (s *Snapshotter) setSource(row meta.Snapshot, source string, deferred bool) error {
	if row.Source == source && row.Deferred == deferred {
		return nil
	}
	return s.update("source", func(tx *meta.Tx) error {
		row, err := ready(tx, row.Name)
		if err != nil {
			return err
		}
		row.Source, row.Deferred = source, deferred
		return tx.UpdateSnapshot(row)
	})
}
