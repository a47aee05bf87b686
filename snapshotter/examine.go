package snapshotter

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/layerkeep/layerkeep/internal/keylock"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

// ErrGivenUp: the examination of a snapshot stopped early, because another call
// wants to change or remove the snapshot.
var ErrGivenUp = errors.New("the snapshot is being changed")

// examinePatience is how long an examination waits for another call that is
// changing the snapshot, for example one that unpacks a layer.
const examinePatience = 10 * time.Second

// Examine calls look with the layer of a snapshot, in the form of Inspect, in a
// store that is in use. During look no other call can change or remove the
// snapshot. No other call has to wait for look to finish by itself: when a call
// wants to change the snapshot, the context of look ends, and Examine returns
// ErrGivenUp as soon as look returns. look must use that context for its own
// calls on the snapshot.
//
// Examine does not call look for a snapshot that no longer exists. The error
// then matches errdefs.ErrNotFound.
func (s *Snapshotter) Examine(ctx context.Context, key string, look func(context.Context, Layer) error) error {
	end, err := s.calls.begin()
	if err != nil {
		return err
	}
	defer end()
	inner, unlock, err := s.keys.yielding(ctx, key, examinePatience)
	if err == nil {
		defer unlock()
		err = s.examine(inner, key, look)
	}
	if err == nil || ctx.Err() != nil {
		return err
	}
	if errors.Is(err, keylock.ErrWanted) || inner != nil && errors.Is(context.Cause(inner), keylock.ErrWanted) {
		return fmt.Errorf("snapshot %q: %w", key, ErrGivenUp)
	}
	return err
}

func (s *Snapshotter) examine(ctx context.Context, key string, look func(context.Context, Layer) error) error {
	var chain []meta.Snapshot
	var generation uint64
	err := s.view(func(tx *meta.Tx) (err error) {
		if _, err = ready(tx, key); err != nil {
			return err
		}
		if generation, err = tx.Generation(); err != nil {
			return err
		}
		if chain, err = tx.Chain(key); errors.Is(err, meta.ErrNotFound) {
			err = fmt.Errorf("snapshot %q: %w: a parent is missing", key, meta.ErrDamaged)
		}
		return err
	})
	if err != nil {
		return err
	}
	rows := map[string]meta.Snapshot{}
	for _, row := range chain {
		rows[row.Name] = row
	}
	return look(ctx, s.inspectRow(ctx, chain[0], rows, generation))
}
