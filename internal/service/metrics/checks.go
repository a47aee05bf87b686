package metrics

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// checks are what is known of checks of the whole store.
type checks struct {
	group
	runs                                      *prometheus.CounterVec
	ended, duration, findings, changed, bytes *prometheus.GaugeVec
}

func newChecks() checks {
	last := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: namespace, Subsystem: "check", Name: "last_" + name, Help: help,
		}, []string{"read_data"})
	}
	c := checks{
		runs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Subsystem: "check", Name: "runs_total",
			Help: "Checks of the whole store that have ended, by the name of the gRPC code of their outcome.",
		}, []string{"code"}),
		ended:    last("timestamp_seconds", "When the last complete check has ended, in seconds since 1970."),
		duration: last("duration_seconds", "How long the last complete check took."),
		findings: last("findings", "What the last complete check has found damaged."),
		changed:  last("changed", "What the last complete check has left out, as others were changing it."),
		bytes:    last("bytes", "Bytes that the last complete check has read."),
	}
	c.group = group{c.runs, c.ended, c.duration, c.findings, c.changed, c.bytes}
	return c
}

// LastCheck is the result of a check of the whole store that was complete.
type LastCheck struct {
	ReadData bool      `json:"readData"`
	Ended    time.Time `json:"ended"`
	Seconds  float64   `json:"seconds"`
	Findings int       `json:"findings"`
	Changed  int       `json:"changed"`
	Bytes    int64     `json:"bytes"`
}

// A Check is a check of the whole store that has ended, completely unless Err
// says why not.
type Check struct {
	Last LastCheck
	Err  error
}

// ObserveCheck counts a check.
func (m *Metrics) ObserveCheck(c Check) {
	m.checks.runs.WithLabelValues(codeOf(c.Err)).Inc()
	if c.Err == nil {
		m.ShowCheck(c.Last)
	}
}

// ShowCheck shows the result of the last check of its kind, which may be one of
// an earlier process.
func (m *Metrics) ShowCheck(c LastCheck) {
	kind := strconv.FormatBool(c.ReadData)
	m.checks.ended.WithLabelValues(kind).Set(float64(c.Ended.UnixMilli()) / 1000)
	m.checks.duration.WithLabelValues(kind).Set(c.Seconds)
	m.checks.findings.WithLabelValues(kind).Set(float64(c.Findings))
	m.checks.changed.WithLabelValues(kind).Set(float64(c.Changed))
	m.checks.bytes.WithLabelValues(kind).Set(float64(c.Bytes))
}
