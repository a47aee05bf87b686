package snapshotter

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/layerkeep/layerkeep/internal/keylock"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

// ErrGivenUp: the snapshot was not examined to the end, as somebody wants to change or
// remove it.
var ErrGivenUp = errors.New("the snapshot is being changed")

// examinePatience is how long an examination waits for somebody who is changing the
// snapshot, such as one who unpacks a layer.
const examinePatience = 10 * time.Second

// Examine calls look with the layer of a snapshot as Inspect returns it, in a store that is
// in use: nobody changes or removes the snapshot meanwhile. But nobody waits for it: when
// somebody is about to, the context that look is given ends, and Examine returns
// ErrGivenUp as soon as look does. The calls of look on the snapshot have to be given that
// context. For a snapshot that is not there any more, look is not called; the error matches
// errdefs.ErrNotFound.
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
