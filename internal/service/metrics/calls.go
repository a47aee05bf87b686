package metrics

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/layerkeep/layerkeep/internal/service/grpcerr"
)

// calls are what is known of the calls of one protocol.
type calls struct {
	group
	total    *prometheus.CounterVec
	duration *prometheus.HistogramVec
	inFlight *prometheus.GaugeVec
}

func newCalls(subsystem, label, what string) calls {
	c := calls{
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "requests_total", Help: "Answered " + what + ".",
		}, []string{label, "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "request_duration_seconds",
			Help: "How long answered " + what + " took.", Buckets: durations,
		}, []string{label}),
		inFlight: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "requests_in_flight", Help: "Running " + what + ".",
		}, []string{label}),
	}
	c.group = group{c.total, c.duration, c.inFlight}
	return c
}

// begin counts a call in; the returned function counts it out, and may be
// deferred, so that a panic does not leave it in flight.
func (c calls) begin(name string) (end func(code string)) {
	start, running := time.Now(), c.inFlight.WithLabelValues(name)
	running.Inc()
	return func(code string) {
		running.Dec()
		c.total.WithLabelValues(name, code).Inc()
		c.duration.WithLabelValues(name).Observe(time.Since(start).Seconds())
	}
}

// Unary counts unary calls. It has to be the first interceptor, to see what the
// client gets. Only methods of registered services come here, so strangers
// cannot add names.
func (m *Metrics) Unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (resp any, err error) {
	end := m.grpc.begin(info.FullMethod)
	code := "Internal"
	defer func() { end(code) }()
	resp, err = handler(ctx, req)
	code = codeOf(err)
	return resp, err
}

// Stream is [Metrics.Unary] for streaming calls.
func (m *Metrics) Stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	end := m.grpc.begin(info.FullMethod)
	code := "Internal"
	defer func() { end(code) }()
	err := handler(srv, ss)
	code = codeOf(err)
	return err
}

// codeOf returns the name of the gRPC code that stands for err.
func codeOf(err error) string { return grpcerr.Code(err).String() }

// aborted is the code of an answer that a handler has cut off by a panic, see
// [http.ErrAbortHandler].
const aborted = "aborted"

// GraphDriver counts the calls of Docker that next answers, by their names in
// the protocol and the HTTP status.
func (m *Metrics) GraphDriver(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		end := m.graphdriver.begin(callName(r.URL.Path))
		seen := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		code := aborted
		defer func() { end(code) }()
		next.ServeHTTP(seen, r)
		code = strconv.Itoa(seen.status)
	})
}

var graphDriverCalls = map[string]bool{
	"Plugin.Activate": true, "GraphDriver.Init": true, "GraphDriver.Capabilities": true, "GraphDriver.Create": true,
	"GraphDriver.CreateReadWrite": true, "GraphDriver.Remove": true, "GraphDriver.Get": true, "GraphDriver.Put": true,
	"GraphDriver.Exists": true, "GraphDriver.Status": true, "GraphDriver.GetMetadata": true, "GraphDriver.Cleanup": true,
	"GraphDriver.Diff": true, "GraphDriver.Changes": true, "GraphDriver.ApplyDiff": true, "GraphDriver.DiffSize": true,
}

// callName keeps strangers from adding names.
func callName(path string) string {
	if name := strings.TrimPrefix(path, "/"); graphDriverCalls[name] {
		return name
	}
	return "other"
}

// statusWriter remembers the status of a response.
type statusWriter struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements [http.ResponseWriter].
func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap lets [http.ResponseController] flush.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
