package metrics_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/service/metrics"
	"github.com/layerkeep/layerkeep/snapshotter"
)

// scrape returns what Prometheus would get.
func scrape(t *testing.T, m *metrics.Metrics) string {
	t.Helper()
	rec := httptest.NewRecorder()
	m.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	require.Equal(t, http.StatusOK, rec.Code)
	return rec.Body.String()
}

// lines returns those lines of a scrape that begin with prefix.
func lines(text, prefix string) string {
	var found []string
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, prefix) {
			found = append(found, strings.TrimSpace(line))
		}
	}
	return strings.Join(found, "\n")
}

// full returns metrics of which every one has a value.
func full(t *testing.T) *metrics.Metrics {
	t.Helper()
	m := metrics.New(metrics.Build{Version: "v1.2.3", Commit: "abc", Go: "go1.26"})
	store := open(t, m)
	require.NoError(t, m.Watch(store))
	m.Observe(snapshotter.Event{Op: snapshotter.OpApply, Duration: 20 * time.Millisecond, Bytes: 4096, Entries: 3})
	m.ObserveGC(metrics.Collection{Snapshots: 2, Blobs: 1, Bytes: 100, Duration: time.Millisecond})
	m.ObserveCheck(metrics.Check{Last: metrics.LastCheck{Ended: time.Unix(1, 0)}})
	call(t, m, nil)
	m.GraphDriver(http.NotFoundHandler()).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/GraphDriver.Get", nil))
	return m
}

func open(t *testing.T, m *metrics.Metrics) *snapshotter.Snapshotter {
	t.Helper()
	store, err := snapshotter.Open(t.Context(), t.TempDir(), snapshotter.Options{Driver: "vfs", Observer: m.Observe})
	if errors.Is(err, driver.ErrUnsupported) {
		t.Skipf("needs a store: %v", err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	return store
}

func call(t *testing.T, m *metrics.Metrics, err error) {
	t.Helper()
	_, got := m.Unary(t.Context(), nil, &grpc.UnaryServerInfo{FullMethod: "/s/M"},
		func(context.Context, any) (any, error) { return nil, err })
	require.Equal(t, err, got)
}

func TestTheMetricsKeepToTheConventionsOfPrometheus(t *testing.T) {
	problems, err := promlint.New(strings.NewReader(scrape(t, full(t)))).Lint()
	require.NoError(t, err)
	require.Empty(t, problems)
}

func TestTheDocumentationNamesEveryMetricWithItsTypeAndNoOther(t *testing.T) {
	page, err := os.ReadFile("../../../docs/metrics.md")
	require.NoError(t, err)
	var documented, served []string
	for _, m := range regexp.MustCompile("(?m)^\\| `(layerkeep_\\w+)` \\| (\\w+) \\|").FindAllStringSubmatch(string(page), -1) {
		documented = append(documented, m[1]+" "+m[2])
	}
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (layerkeep_\w+ \w+)$`).FindAllStringSubmatch(scrape(t, full(t)), -1) {
		served = append(served, m[1])
	}
	require.NotEmpty(t, served)
	require.ElementsMatch(t, served, documented)
}

func TestOperationsAreCountedByTheirOutcome(t *testing.T) {
	m := metrics.New(metrics.Build{})
	m.Observe(snapshotter.Event{Op: snapshotter.OpStat})
	require.NoError(t, m.Watch(open(t, m)))
	for _, err := range []error{nil, nil, errdefs.ErrNotFound, context.Canceled, errors.New("odd")} {
		m.Observe(snapshotter.Event{Op: snapshotter.OpPrepare, Duration: 3 * time.Millisecond, Err: err})
	}
	m.Observe(snapshotter.Event{Op: snapshotter.OpDiff, Bytes: 1024, Entries: 7})
	m.Observe(snapshotter.Event{Op: snapshotter.OpDiff, Bytes: 1024, Entries: 7, Err: errdefs.ErrResourceExhausted})
	text := scrape(t, m)
	require.Equal(t, `layerkeep_operations_total{code="Canceled",driver="vfs",op="prepare"} 1
layerkeep_operations_total{code="NotFound",driver="vfs",op="prepare"} 1
layerkeep_operations_total{code="OK",driver="",op="stat"} 1
layerkeep_operations_total{code="OK",driver="vfs",op="diff"} 1
layerkeep_operations_total{code="OK",driver="vfs",op="prepare"} 2
layerkeep_operations_total{code="ResourceExhausted",driver="vfs",op="diff"} 1
layerkeep_operations_total{code="Unknown",driver="vfs",op="prepare"} 1`, lines(text, "layerkeep_operations_total"))
	require.Equal(t, `layerkeep_layer_bytes_total{driver="vfs",op="diff"} 2048`, lines(text, "layerkeep_layer_bytes_total"))
	require.Equal(t, `layerkeep_layer_entries_total{driver="vfs",op="diff"} 14`, lines(text, "layerkeep_layer_entries_total"))
	require.Contains(t, text, `layerkeep_operation_duration_seconds_bucket{driver="vfs",op="prepare",le="0.0025"} 0`)
	require.Contains(t, text, `layerkeep_operation_duration_seconds_bucket{driver="vfs",op="prepare",le="0.005"} 5`)
}

func TestAScrapeSaysWhatTheStoreHoldsByScopeAndKind(t *testing.T) {
	m := metrics.New(metrics.Build{})
	store := open(t, m)
	require.NoError(t, m.Watch(store))
	require.Equal(t, `layerkeep_snapshots{driver="vfs",kind="active",scope=""} 0
layerkeep_snapshots{driver="vfs",kind="committed",scope=""} 0
layerkeep_snapshots{driver="vfs",kind="view",scope=""} 0`, lines(scrape(t, m), "layerkeep_snapshots"))

	scope, err := store.Scope("containerd")
	require.NoError(t, err)
	_, err = scope.Prepare(t.Context(), "a", "")
	require.NoError(t, err)
	require.NoError(t, scope.Commit(t.Context(), "b", "a"))
	_, err = scope.View(t.Context(), "v", "b")
	require.NoError(t, err)
	_, err = store.Prepare(t.Context(), "mine", "")
	require.NoError(t, err)
	usage, err := scope.Usage(t.Context(), "b")
	require.NoError(t, err)
	require.Positive(t, usage.Inodes)

	text := scrape(t, m)
	require.Equal(t, `layerkeep_snapshots{driver="vfs",kind="active",scope=""} 1
layerkeep_snapshots{driver="vfs",kind="active",scope="containerd"} 0
layerkeep_snapshots{driver="vfs",kind="committed",scope=""} 0
layerkeep_snapshots{driver="vfs",kind="committed",scope="containerd"} 1
layerkeep_snapshots{driver="vfs",kind="view",scope=""} 0
layerkeep_snapshots{driver="vfs",kind="view",scope="containerd"} 1`, lines(text, "layerkeep_snapshots"))
	require.Equal(t, usage.Inodes, gauge(t, text, `layerkeep_snapshot_inodes{driver="vfs",kind="committed",scope="containerd"}`))
	require.Equal(t, usage.Size, gauge(t, text, `layerkeep_snapshot_bytes{driver="vfs",kind="committed",scope="containerd"}`))
	require.NotContains(t, text, `layerkeep_snapshot_bytes{driver="vfs",kind="active"`)
}

func TestAStoreThatIsClosedDoesNotKeepTheOtherMetricsBack(t *testing.T) {
	m := metrics.New(metrics.Build{Version: "v9"})
	store := open(t, m)
	require.NoError(t, m.Watch(store))
	require.NoError(t, store.Close())
	text := scrape(t, m)
	require.Contains(t, text, `layerkeep_build_info{commit="",go="",version="v9"} 1`)
	require.Empty(t, lines(text, "layerkeep_snapshots"))
}

func TestASecondStoreIsRefused(t *testing.T) {
	m := metrics.New(metrics.Build{})
	store := open(t, m)
	require.NoError(t, m.Watch(store))
	require.ErrorContains(t, m.Watch(store), store.Root())
}

func TestCollectionsOfGarbageAddUp(t *testing.T) {
	m := metrics.New(metrics.Build{})
	m.ObserveGC(metrics.Collection{Snapshots: 2, Blobs: 3, Bytes: 10})
	m.ObserveGC(metrics.Collection{Snapshots: 1, Blobs: 1, Bytes: 5, Err: errdefs.ErrUnavailable})
	text := lines(scrape(t, m), "layerkeep_gc_")
	for _, want := range []string{
		`layerkeep_gc_runs_total{code="OK"} 1`, `layerkeep_gc_runs_total{code="Unavailable"} 1`, "layerkeep_gc_removed_snapshots_total 3",
		"layerkeep_gc_removed_blobs_total 4", "layerkeep_gc_freed_blob_bytes_total 15", "layerkeep_gc_duration_seconds_count 2",
	} {
		require.Contains(t, text, want)
	}
}

func TestTheLastCheckOfEachKindIsTold(t *testing.T) {
	m := metrics.New(metrics.Build{})
	require.Empty(t, lines(scrape(t, m), "layerkeep_check_last"), "there was none")
	m.ShowCheck(metrics.LastCheck{ReadData: true, Ended: time.Unix(1700000000, 0), Seconds: 2.5, Findings: 3, Bytes: 4096, Changed: 1})
	m.ObserveCheck(metrics.Check{Last: metrics.LastCheck{Ended: time.Unix(1700000001, 0)}})
	m.ObserveCheck(metrics.Check{Last: metrics.LastCheck{Ended: time.Unix(1800000000, 0), Findings: 7}, Err: context.Canceled})
	require.Equal(t, `layerkeep_check_last_bytes{read_data="false"} 0
layerkeep_check_last_bytes{read_data="true"} 4096
layerkeep_check_last_changed{read_data="false"} 0
layerkeep_check_last_changed{read_data="true"} 1
layerkeep_check_last_duration_seconds{read_data="false"} 0
layerkeep_check_last_duration_seconds{read_data="true"} 2.5
layerkeep_check_last_findings{read_data="false"} 0
layerkeep_check_last_findings{read_data="true"} 3
layerkeep_check_last_timestamp_seconds{read_data="false"} 1.700000001e+09
layerkeep_check_last_timestamp_seconds{read_data="true"} 1.7e+09
layerkeep_check_runs_total{code="Canceled"} 1
layerkeep_check_runs_total{code="OK"} 1`, lines(scrape(t, m), "layerkeep_check_"))
}

func TestGRPCCallsAreCountedWhileTheyRunAndWhenTheyEnd(t *testing.T) {
	m := metrics.New(metrics.Build{})
	info := &grpc.StreamServerInfo{FullMethod: "/s/Stream"}
	err := m.Stream(nil, nil, info, func(any, grpc.ServerStream) error {
		require.Contains(t, scrape(t, m), `layerkeep_grpc_requests_in_flight{method="/s/Stream"} 1`)
		return status.Error(codes.Aborted, "gone")
	})
	require.Equal(t, codes.Aborted, status.Code(err))
	call(t, m, nil)
	call(t, m, errdefs.ErrAlreadyExists)
	text := scrape(t, m)
	require.Contains(t, text, `layerkeep_grpc_requests_in_flight{method="/s/Stream"} 0`)
	require.Equal(t, `layerkeep_grpc_requests_total{code="Aborted",method="/s/Stream"} 1
layerkeep_grpc_requests_total{code="AlreadyExists",method="/s/M"} 1
layerkeep_grpc_requests_total{code="OK",method="/s/M"} 1`, lines(text, "layerkeep_grpc_requests_total"))
	require.Contains(t, text, `layerkeep_grpc_request_duration_seconds_count{method="/s/M"} 2`)
}

func TestACallThatPanicsDoesNotStayInFlight(t *testing.T) {
	m := metrics.New(metrics.Build{})
	require.PanicsWithValue(t, "oh", func() {
		_, _ = m.Unary(t.Context(), nil, &grpc.UnaryServerInfo{FullMethod: "/s/M"}, func(context.Context, any) (any, error) { panic("oh") })
	})
	text := scrape(t, m)
	require.Contains(t, text, `layerkeep_grpc_requests_in_flight{method="/s/M"} 0`)
	require.Contains(t, text, `layerkeep_grpc_requests_total{code="Internal",method="/s/M"} 1`)
}

func TestCallsOfDockerAreCountedAndStrangersCannotAddNames(t *testing.T) {
	m := metrics.New(metrics.Build{})
	handler := m.GraphDriver(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/GraphDriver.Diff" {
			require.NoError(t, http.NewResponseController(w).Flush())
			_, _ = io.WriteString(w, "tar")
			return
		}
		w.WriteHeader(http.StatusNotFound)
	}))
	for _, path := range []string{"/GraphDriver.Diff", "/GraphDriver.Diff", "/NetworkDriver.Join", "/x", "/y"} {
		handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, path, nil))
	}
	require.Equal(t, `layerkeep_graphdriver_requests_total{call="GraphDriver.Diff",code="200"} 2
layerkeep_graphdriver_requests_total{call="other",code="404"} 3`, lines(scrape(t, m), "layerkeep_graphdriver_requests_total"))
}

func TestAnAnswerThatIsCutOffCountsAsAborted(t *testing.T) {
	m := metrics.New(metrics.Build{})
	handler := m.GraphDriver(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "half")
		panic(http.ErrAbortHandler)
	}))
	require.PanicsWithValue(t, http.ErrAbortHandler, func() {
		handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/GraphDriver.Diff", nil))
	})
	text := scrape(t, m)
	require.Equal(t, `layerkeep_graphdriver_requests_total{call="GraphDriver.Diff",code="aborted"} 1`, lines(text, "layerkeep_graphdriver_requests_total"))
	require.Contains(t, text, `layerkeep_graphdriver_requests_in_flight{call="GraphDriver.Diff"} 0`)
}

// gauge returns the value of one series.
func gauge(t *testing.T, text, series string) int64 {
	t.Helper()
	line := lines(text, series+" ")
	value, err := strconv.ParseFloat(line[strings.LastIndex(line, " ")+1:], 64)
	require.NoError(t, err)
	return int64(value)
}
