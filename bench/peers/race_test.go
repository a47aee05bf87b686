package peers

import (
	"runtime"
	"slices"
	"testing"
	"time"
)

// A contender does the work once. prepare and the returned clean-up are not
// timed.
type contender struct {
	name string
	once func(b *testing.B) (work func() error, cleanup func())
}

// race runs every contender once in each round and reports the medians. The
// first contender is ours, with which the others are compared.
func race(b *testing.B, contenders []contender) {
	b.Helper()
	times := make([][]time.Duration, len(contenders))
	for round := 0; b.Loop(); round++ {
		for i := range contenders {
			i = (i + round) % len(contenders) // nobody always comes first
			times[i] = append(times[i], timeOnce(b, contenders[i]))
		}
	}
	ours := median(times[0])
	for i, c := range contenders {
		m := median(times[i])
		b.ReportMetric(float64(m.Microseconds())/1000, c.name+"-ms")
		if i > 0 {
			b.ReportMetric(float64(m)/float64(ours), "x-"+c.name)
		}
	}
	b.ReportMetric(0, "ns/op") // of a whole round: says nothing
}

func timeOnce(b *testing.B, c contender) time.Duration {
	b.Helper()
	work, cleanup := c.once(b)
	defer cleanup()
	runtime.GC()
	start := time.Now()
	err := work()
	took := time.Since(start)
	if err != nil {
		b.Fatalf("%s: %v", c.name, err)
	}
	return took
}

func median(d []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(d))
	return sorted[len(sorted)/2]
}
