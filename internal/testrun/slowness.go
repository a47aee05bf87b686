package testrun

import (
	"runtime"
	"sync"
	"time"
)

const (
	// quiet is how long compute takes on a machine with nothing else to do.
	quiet = 10 * time.Millisecond
	// samples is how many times it is measured. One alone may come between two
	// turns of the scheduler.
	samples = 20
	// slowest bounds what is believed of a measurement, so that what hangs ends.
	slowest = 12
)

// slowness says by how much longer a computation takes now, on every processor
// at a time, than on a quiet machine: 1 when it is as fast.
func slowness() float64 {
	start := time.Now()
	var all sync.WaitGroup
	for range runtime.NumCPU() {
		all.Go(func() {
			for range samples {
				compute()
			}
		})
	}
	all.Wait()
	return min(max(1, float64(time.Since(start))/float64(samples*quiet)), slowest)
}

// compute takes a fixed number of steps, each of which needs the one before.
func compute() uint64 {
	x := uint64(88172645463325252)
	for range steps {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
	}
	return x
}

// steps is how many compute takes: as many as a processor of 2020 does in about
// 10 ms.
const steps = 5_000_000
