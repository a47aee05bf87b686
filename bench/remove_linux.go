package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/layerkeep/layerkeep/bench/synth"
)

// removeCases remove layers.
func removeCases() []Case {
	var cases []Case
	for _, files := range []int{2000, 80_000} {
		cases = append(cases, Case{
			Name: "remove", Params: Params{{"files", fmt.Sprint(files)}}, Once: files == 80_000,
			About:  "remove a layer of that many files, right after it was made, and wait for its space",
			Cannot: takes(need{1 << 14, 2}.times(int64(files))),
			Start: func(_ context.Context, st *Stage) (Trial, error) {
				return removeTrial{st, files, freedWithin}, nil
			},
		})
	}
	return cases
}

const (
	// freedWithin is how long the space of a removed layer is waited for. btrfs
	// frees that of a subvolume in the background, after its next transaction, half
	// a minute at most.
	freedWithin = 90 * time.Second
	freedPause  = 2 * time.Millisecond
	// freedShare of the space counts as all of it: the file system keeps some
	// blocks of directories and of its own trees.
	freedShare = 0.95
)

// A removeTrial removes a layer of many files.
type removeTrial struct {
	st     *Stage
	files  int
	within time.Duration
}

// Round adds "returns", the time until Remove has returned, and "freed", the
// time from the beginning of Remove until Cleanup has returned and the space of
// the layer is free. The space is seen after a sync of the file system, which
// counts, too. "space" is that of the layer.
func (t removeTrial) Round(ctx context.Context, r *Round) (err error) {
	before, err := t.used()
	if err != nil {
		return err
	}
	name, err := t.st.Make(ctx, nil, func(l *synth.Layer) { l.Files("files", t.files, 512) })
	if err != nil {
		return err
	}
	removed := false
	defer func() {
		if !removed {
			err = errors.Join(err, t.st.Forget(ctx, name))
		}
	}()
	full, err := t.used()
	if err != nil {
		return err
	}
	begun := time.Now()
	if err := t.st.Store.Remove(ctx, name); err != nil {
		return err
	}
	removed = true
	r.Add("returns", Seconds, time.Since(begun).Seconds())
	if err := t.st.Store.Cleanup(ctx); err != nil {
		return err
	}
	left, err := t.awaitFreed(ctx, begun, before+int64(float64(full-before)*(1-freedShare)))
	if err != nil {
		return err
	}
	if left > 0 {
		r.Note(fmt.Sprintf("after %v, %d KiB of %d KiB were still in use", t.within, left>>10, (full-before)>>10))
	} else {
		r.Add("freed", Seconds, time.Since(begun).Seconds())
	}
	r.Add("space", Bytes, float64(full-before))
	return nil
}

// awaitFreed waits until no more than so many bytes are in use. It returns how
// many there were too many when it gave up, 0 if it did not.
func (t removeTrial) awaitFreed(ctx context.Context, begun time.Time, goal int64) (left int64, err error) {
	for {
		used, err := t.used()
		if err != nil || used <= goal {
			return 0, err
		}
		if time.Since(begun) > t.within {
			return used - goal, nil
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(freedPause): // the kernel tells nobody
		}
	}
}

// used returns the bytes in use, after everything was written.
func (t removeTrial) used() (int64, error) {
	if err := t.st.Place.Sync(); err != nil {
		return 0, err
	}
	used, err := t.st.Place.Used()
	return used.Bytes, err
}

func (t removeTrial) Stop(context.Context) error { return nil }
