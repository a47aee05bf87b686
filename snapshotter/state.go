package snapshotter

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"strconv"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

// A LayerState says in one word what is wrong with the layer of a snapshot. The
// words are stable, so scripts may use them.
type LayerState string

// The states. Every state except LayerSound is damage or unknown.
const (
	LayerSound LayerState = ""
	// LayerTorn: see ErrLayerTorn.
	LayerTorn LayerState = "torn"
	// LayerMissing: see ErrLayerMissing.
	LayerMissing LayerState = "missing"
	// LayerUnreadable: see ErrRecord and ErrUnreadable.
	LayerUnreadable LayerState = "unreadable"
	// LayerQuarantined: see ErrQuarantined.
	LayerQuarantined LayerState = "quarantined"
	// LayerUnknown: the layer could not be checked, for example because of a
	// lack of file descriptors.
	LayerUnknown LayerState = "unknown"
)

// A LayerDamage says what is wrong with the layer of one snapshot.
type LayerDamage struct {
	// Key is the snapshot of the layer, and Kind the kind of that snapshot.
	Key   string
	Kind  snapshots.Kind
	State LayerState
	// What is a sentence for people.
	What string
}

// stateOf returns the state for an error of usable or recorded.
func stateOf(err error) LayerState {
	switch {
	case err == nil:
		return LayerSound
	case errors.Is(err, ErrLayerTorn):
		return LayerTorn
	case errors.Is(err, ErrLayerMissing):
		return LayerMissing
	case errors.Is(err, ErrQuarantined):
		return LayerQuarantined
	case IsDamage(err):
		return LayerUnreadable
	default:
		return LayerUnknown
	}
}

// LayerState returns what the record of a snapshot's layer says about damage.
// It reads no files of the layer. It returns LayerSound for a snapshot that is
// being changed at this moment, because a change in progress looks like damage.
func (s *Snapshotter) LayerState(ctx context.Context, key string) (LayerState, error) {
	end, err := s.calls.begin()
	if err != nil {
		return LayerSound, err
	}
	defer end()
	row, err := s.row(key)
	if err != nil {
		return LayerSound, err
	}
	if state, err := s.recordedState(ctx, row); state == LayerSound || err != nil {
		return state, err
	}
	// The key must be locked: while a call applies to the layer it looks torn, and
	// while a call removes it it looks missing.
	unlock, ok := s.keys.tryRead(key)
	if !ok {
		return LayerSound, nil
	}
	defer unlock()
	if row, err = s.row(key); err != nil {
		return LayerSound, err
	}
	return s.recordedState(ctx, row)
}

func (s *Snapshotter) recordedState(ctx context.Context, row meta.Snapshot) (LayerState, error) {
	err := s.recorded(ctx, row)
	if ctx.Err() != nil {
		return LayerSound, ctx.Err()
	}
	return stateOf(err), nil
}

// StreamStates is [Snapshotter.Stream] with the states of the layers. It checks
// the layers of snapshots that are not committed. There are few of these, and a
// torn layer cannot be committed. For a committed snapshot it reports only a
// missing directory of the layer, and only when the driver is a
// [driver.Placer]. For that it reads the directory of all layers once.
func (s *Snapshotter) StreamStates(ctx context.Context, fn func(context.Context, snapshots.Info, LayerState) error) error {
	var there layerNumbers
	if p, ok := s.driver.(driver.Placer); ok {
		var err error
		if there, err = readLayerNumbers(p.Place()); err != nil {
			s.log.WarnContext(ctx, "layers of committed snapshots are not looked for", "error", err)
		}
	}
	return s.streamRows(ctx, func(ctx context.Context, row meta.Snapshot) error {
		state := LayerSound
		if row.Kind != meta.Committed || there.lacks(row) { // it may have been made since then
			var err error
			if state, err = s.LayerState(ctx, row.Name); err != nil && !errdefs.IsNotFound(err) { // it was removed meanwhile
				return err
			}
		}
		return fn(ctx, infoOf(row), state)
	})
}

// layerNumbers is the set of layers in a directory, one bit for each. The names
// of layers are numbers. A nil map means that the directory was not read.
type layerNumbers map[uint64]uint64

// readLayerNumbers reads the names in a directory, streamBatch names at a time,
// so that memory does not grow with the directory.
func readLayerNumbers(dir string) (layerNumbers, error) {
	all := layerNumbers{}
	f, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return all, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for {
		names, err := f.Readdirnames(streamBatch)
		for _, name := range names {
			if n, err := strconv.ParseUint(name, 10, 64); err == nil {
				all[n/64] |= 1 << (n % 64)
			}
		}
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// lacks reports whether the layer of a row should have been in the directory
// but was not there.
func (l layerNumbers) lacks(row meta.Snapshot) bool {
	n, err := strconv.ParseUint(row.Layer, 10, 64)
	return l != nil && err == nil && row.Store == "" && !row.Foreign && l[n/64]&(1<<(n%64)) == 0
}

// Damage returns what is wrong with the layer of a snapshot and with the layers
// of its parents, nearest first. It checks the layer itself as
// [Snapshotter.Usable] does. Of the parents it checks only the records.
func (s *Snapshotter) Damage(ctx context.Context, key string) (damage []LayerDamage, err error) {
	err = s.looking(ctx, key, func(row meta.Snapshot) error {
		chain, err := s.chain(key)
		if err != nil {
			return err
		}
		for i, row := range chain {
			look := s.recorded
			if i == 0 {
				look = s.usable
			}
			err := look(ctx, row)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				damage = append(damage, LayerDamage{Key: row.Name, Kind: kindOf(row.Kind), State: stateOf(err), What: err.Error()})
			}
		}
		return nil
	})
	return damage, err
}
