package bench

import (
	"context"
	"time"

	"github.com/layerkeep/layerkeep/bench/disk"
)

// A reading is what the counters of a place show at one moment.
type reading struct {
	written int64
	counts  bool // written is known
	space   disk.Space
	ofLayer int64
}

// read writes everything to the device and reads the counters. layer is the one
// whose inodes are counted where the file system does not count any, empty for
// none.
func (st *Stage) read(ctx context.Context, layer string) (r reading, err error) {
	if r.space, err = settled(ctx, st.Place); err != nil {
		return r, err
	}
	if !st.Place.CountsInodes() && layer != "" {
		u, err := st.Store.Usage(ctx, layer)
		if err != nil {
			return r, err
		}
		r.ofLayer = u.Inodes
	}
	r.written, r.counts = st.Place.Written()
	return r, nil
}

const (
	settlePatience = 2 * time.Second
	settlePause    = 20 * time.Millisecond
)

// settled writes everything to the device and returns what is in use. A btrfs
// frees what was removed in the background: there it waits, for a while, until
// nothing changes any more.
func settled(ctx context.Context, p *disk.Place) (disk.Space, error) {
	last := disk.Space{Bytes: -1}
	for begun := time.Now(); ; {
		if err := p.Sync(); err != nil {
			return last, err
		}
		now, err := p.Used()
		if err != nil || now == last || p.FileSystem != "btrfs" || time.Since(begun) > settlePatience {
			return now, err
		}
		last = now
		select {
		case <-ctx.Done():
			return now, ctx.Err()
		case <-time.After(settlePause):
		}
	}
}

// addCost does some work and adds what it cost beside its own time: "sync", the
// time that it takes to write everything to the device afterwards, divided by
// syncs, and what addSince adds, for each of n things.
func (st *Stage) addCost(ctx context.Context, r *Round, layer string, n, syncs int, work func() error) error {
	before, err := st.read(ctx, layer)
	if err != nil {
		return err
	}
	if err := work(); err != nil {
		return err
	}
	sync, err := timed(st.Place.Sync)
	if err != nil {
		return err
	}
	r.Add("sync", Seconds, sync/float64(syncs))
	return st.addSince(ctx, r, before, layer, n)
}

// addSince adds what was written and what is in use more than before, for each
// of n things.
func (st *Stage) addSince(ctx context.Context, r *Round, before reading, layer string, n int) error {
	now, err := st.read(ctx, layer)
	if err != nil {
		return err
	}
	each := func(v int64) float64 { return float64(v) / float64(n) }
	if now.counts && before.counts {
		r.Add("written", Bytes, each(now.written-before.written))
	}
	used := now.space.Sub(before.space)
	r.Add("space", Bytes, each(used.Bytes))
	if st.Place.CountsInodes() {
		r.Add("inodes", Inodes, each(used.Inodes))
	} else if layer != "" {
		r.Add("inodes", Inodes, each(now.ofLayer-before.ofLayer))
	}
	return nil
}
