package metrics

import (
	"net/http"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// namespace begins all names.
const namespace = "layerkeep"

// maxScrapes is how many scrapes run side by side; further ones get a 503.
const maxScrapes = 4

// Build says what is running.
type Build struct {
	Version, Commit, Go string
}

// Metrics are the metrics of one process. They are safe for concurrent use.
type Metrics struct {
	registry *prometheus.Registry
	// driver is the name of the store's driver, once there is one.
	driver atomic.Value

	operations  operations
	collections collections
	checks      checks
	grpc        calls
	graphdriver calls
}

// New returns metrics in a registry of their own.
func New(build Build) *Metrics {
	m := &Metrics{
		registry:    prometheus.NewRegistry(),
		operations:  newOperations(),
		collections: newCollections(),
		checks:      newChecks(),
		grpc:        newCalls("grpc", "method", "gRPC calls"),
		graphdriver: newCalls("graphdriver", "call", "calls of Docker"),
	}
	m.driver.Store("")
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: namespace, Name: "build_info", Help: "The running version; always 1.",
		ConstLabels: prometheus.Labels{"version": build.Version, "commit": build.Commit, "go": build.Go},
	})
	info.Set(1)
	m.registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		info, m.operations, m.collections, m.checks, m.grpc, m.graphdriver,
	)
	return m
}

// Handler serves the metrics in the formats that Prometheus asks for. When a
// part of them cannot be read, it serves the others.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		Registry:            m.registry,
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: maxScrapes,
	})
}

// group is a Collector made of others.
type group []prometheus.Collector

// Describe describes all of them.
func (g group) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range g {
		c.Describe(ch)
	}
}

// Collect collects all of them.
func (g group) Collect(ch chan<- prometheus.Metric) {
	for _, c := range g {
		c.Collect(ch)
	}
}
