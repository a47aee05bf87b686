package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/layerkeep/layerkeep/snapshotter"
)

// durations are the upper bounds in seconds: most operations take a fraction of
// a millisecond, an apply or a diff of a big layer minutes.
var durations = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300}

// operations are what is known of the calls on the store.
type operations struct {
	group
	total    *prometheus.CounterVec
	duration *prometheus.HistogramVec
	bytes    *prometheus.CounterVec
	entries  *prometheus.CounterVec
}

func newOperations() operations {
	o := operations{
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Name: "operations_total",
			Help: "Calls on the store that have ended, by the name of the gRPC code of their outcome.",
		}, []string{"op", "driver", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Name: "operation_duration_seconds",
			Help: "How long calls on the store took, failed ones included.", Buckets: durations,
		}, []string{"op", "driver"}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Name: "layer_bytes_total",
			Help: "Uncompressed bytes of layer tars that applies have read and diffs have written.",
		}, []string{"op", "driver"}),
		entries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Name: "layer_entries_total",
			Help: "Entries of layer tars that applies have read and diffs have written.",
		}, []string{"op", "driver"}),
	}
	o.group = group{o.total, o.duration, o.bytes, o.entries}
	return o
}

// Observe counts a call on the store; it is a [snapshotter.Observer].
func (m *Metrics) Observe(e snapshotter.Event) {
	op, driver := string(e.Op), m.driver.Load().(string)
	m.operations.total.WithLabelValues(op, driver, codeOf(e.Err)).Inc()
	m.operations.duration.WithLabelValues(op, driver).Observe(e.Duration.Seconds())
	if e.Bytes > 0 {
		m.operations.bytes.WithLabelValues(op, driver).Add(float64(e.Bytes))
	}
	if e.Entries > 0 {
		m.operations.entries.WithLabelValues(op, driver).Add(float64(e.Entries))
	}
}

// collections are what is known of garbage collections.
type collections struct {
	group
	runs      *prometheus.CounterVec
	duration  prometheus.Histogram
	snapshots prometheus.Counter
	blobs     prometheus.Counter
	bytes     prometheus.Counter
}

func newCollections() collections {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Subsystem: "gc", Name: name, Help: help})
	}
	c := collections{
		runs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Subsystem: "gc", Name: "runs_total",
			Help: "Garbage collections of images that have ended, by the name of the gRPC code of their outcome.",
		}, []string{"code"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: namespace, Subsystem: "gc", Name: "duration_seconds",
			Help: "How long garbage collections of images took.", Buckets: durations,
		}),
		snapshots: counter("removed_snapshots_total", "Snapshots that garbage collections have removed."),
		blobs:     counter("removed_blobs_total", "Blobs that garbage collections have removed."),
		bytes:     counter("freed_blob_bytes_total", "Bytes of the blobs that garbage collections have removed."),
	}
	c.group = group{c.runs, c.duration, c.snapshots, c.blobs, c.bytes}
	return c
}

// A Collection is a garbage collection of images that has ended.
type Collection struct {
	// Snapshots and Blobs count what was removed, Bytes is what the blobs took.
	Snapshots, Blobs int
	Bytes            int64
	Duration         time.Duration
	Err              error
}

// ObserveGC counts a garbage collection. What it removed before it failed
// counts.
func (m *Metrics) ObserveGC(c Collection) {
	m.collections.runs.WithLabelValues(codeOf(c.Err)).Inc()
	m.collections.duration.Observe(c.Duration.Seconds())
	m.collections.snapshots.Add(float64(c.Snapshots))
	m.collections.blobs.Add(float64(c.Blobs))
	m.collections.bytes.Add(float64(c.Bytes))
}
