package check

import (
	"context"
	"time"

	"github.com/layerkeep/layerkeep/image"
	"github.com/layerkeep/layerkeep/snapshotter"
)

// Background is [Run] at low priority. It reads at most rate bytes per second.
// With a rate of 0 it does the same as Run.
func Background(ctx context.Context, snaps *snapshotter.Snapshotter, images *image.Store, opts Options, rate int64, found func(Finding)) (sum Summary, err error) {
	if rate <= 0 {
		return Run(ctx, snaps, images, opts, found)
	}
	opts.Read = slowed(rate)
	atLowPriority(func() { sum, err = Run(ctx, snaps, images, opts, found) })
	return sum, err
}

// slowed returns a function for [Options.Read] that waits, so that at most rate
// bytes are read in a second.
func slowed(rate int64) func(context.Context, int) error {
	var due time.Time
	return func(ctx context.Context, n int) error {
		now := time.Now()
		if due.Before(now) {
			due = now
		}
		due = due.Add(time.Duration(float64(n) / float64(rate) * float64(time.Second)))
		const least = 10 * time.Millisecond // shorter waits cost more than they slow down
		if wait := due.Sub(now); wait >= least {
			timer := time.NewTimer(wait)
			defer timer.Stop()
			select {
			case <-timer.C:
			case <-ctx.Done():
			}
		}
		return ctx.Err()
	}
}

// atLowPriority calls run on a thread of its own. The thread gets the processor
// and the disk only when no other thread wants them, if the system supports
// such priorities. Goroutines that run starts have normal priority. A panic of
// run becomes a panic of atLowPriority.
func atLowPriority(run func()) {
	var panicked any
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { panicked = recover() }()
		lower() // the thread ends with the goroutine, so the priority need not be restored
		run()
	}()
	<-done
	if panicked != nil {
		panic(panicked)
	}
}
