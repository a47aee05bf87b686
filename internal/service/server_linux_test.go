package service

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	diffapi "github.com/containerd/containerd/api/services/diff/v1"
	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/proxy"
	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	healthapi "google.golang.org/grpc/health/grpc_health_v1"
	reflectionapi "google.golang.org/grpc/reflection/grpc_reflection_v1"
	reflectionalpha "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
	"google.golang.org/grpc/status"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/internal/service/config"
	"github.com/layerkeep/layerkeep/snapshotter"
)

const serving = healthapi.HealthCheckResponse_SERVING

func TestAllServicesAreThereHealthyAndDescribed(t *testing.T) {
	s := start(t, t.TempDir(), "vfs", nil)
	want := []string{
		"containerd.services.snapshots.v1.Snapshots", "containerd.services.diff.v1.Diff", "layerkeep.store.v1.Store",
		"grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection",
	}
	stream, err := reflectionapi.NewServerReflectionClient(s.conn).ServerReflectionInfo(t.Context())
	require.NoError(t, err)
	require.NoError(t, stream.Send(&reflectionapi.ServerReflectionRequest{
		MessageRequest: &reflectionapi.ServerReflectionRequest_ListServices{},
	}))
	got, err := stream.Recv()
	require.NoError(t, err)
	var names []string
	for _, service := range got.GetListServicesResponse().GetService() {
		names = append(names, service.GetName())
	}
	require.ElementsMatch(t, want, names)

	old, err := reflectionalpha.NewServerReflectionClient(s.conn).ServerReflectionInfo(t.Context())
	require.NoError(t, err)
	//nolint:staticcheck // what older tools still ask
	require.NoError(t, old.Send(&reflectionalpha.ServerReflectionRequest{
		MessageRequest: &reflectionalpha.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: want[0]},
	}))
	described, err := old.Recv()
	require.NoError(t, err)
	require.NotEmpty(t, described.GetFileDescriptorResponse().GetFileDescriptorProto()) //nolint:staticcheck // the same

	for _, name := range append(want, "") {
		state, err := healthapi.NewHealthClient(s.conn).Check(t.Context(), &healthapi.HealthCheckRequest{Service: name})
		require.NoError(t, err, name)
		require.Equal(t, serving, state.GetStatus(), name)
	}
}

func TestEveryCallIsInTheLog(t *testing.T) {
	s := start(t, t.TempDir(), "vfs", nil)
	_, err := s.engine.Prepare(asEngine(t), "testing/1/key", "")
	require.NoError(t, err)
	_, err = s.engine.Stat(asEngine(t), "testing/2/missing")
	require.ErrorIs(t, err, errdefs.ErrNotFound)
	require.ErrorIs(t, s.engine.Walk(asEngine(t), nil, "]["), errdefs.ErrInvalidArgument)
	find := func(parts ...string) {
		t.Helper()
		eventually(t, func() bool {
			for line := range strings.Lines(s.log.String()) {
				found := true
				for _, part := range parts {
					found = found && strings.Contains(line, part)
				}
				if found {
					return true
				}
			}
			return false
		}, strings.Join(parts, " "))
	}
	find("level=INFO", "op=Prepare", "key=testing/1/key", "namespace=testing", "code=OK", "duration=")
	find("level=INFO", "op=Stat", "key=testing/2/missing", "code=NotFound", "error=")
	find("level=WARN", "op=List", "code=InvalidArgument")
}

func TestEachEngineSeesItsOwnSnapshots(t *testing.T) {
	other := filepath.Join(fstest.ShortDir(t), "other.sock")
	s := start(t, t.TempDir(), "vfs", func(c *config.Config) { c.Engines = map[string]string{"buildkit": other} })
	second := proxy.NewSnapshotter(snapshotsapi.NewSnapshotsClient(dial(t, other)), "layerkeep")
	for _, e := range []snapshots.Snapshotter{s.engine, second} {
		_, err := e.Prepare(asEngine(t), "same", "")
		require.NoError(t, err)
		var names []string
		require.NoError(t, e.Walk(asEngine(t), func(_ context.Context, info snapshots.Info) error {
			names = append(names, info.Name)
			return nil
		}))
		require.Equal(t, []string{"same"}, names)
	}
	require.NoError(t, second.Remove(asEngine(t), "same"))
	_, err := s.engine.Stat(asEngine(t), "same")
	require.NoError(t, err)
	_, err = diffapi.NewDiffClient(dial(t, other)).Apply(asEngine(t), &diffapi.ApplyRequest{})
	require.Equal(t, codes.Unimplemented, status.Code(err), "layers are in the other engine")
}

func TestMessagesThatAreTooLargeAreRefused(t *testing.T) {
	s := start(t, t.TempDir(), "vfs", func(c *config.Config) { c.MaxMessageBytes = 64 << 10 })
	_, err := s.engine.Prepare(asEngine(t), strings.Repeat("x", 100<<10), "")
	require.ErrorIs(t, err, errdefs.ErrResourceExhausted)
	_, err = s.engine.Prepare(asEngine(t), "x", "")
	require.NoError(t, err)
}

func TestAStoreWhoseDirectoryIsGoneSaysSo(t *testing.T) {
	root := filepath.Join(t.TempDir(), "root")
	s := start(t, root, "vfs", nil)
	_, err := s.engine.Prepare(asEngine(t), "key", "")
	require.NoError(t, err)
	health := healthapi.NewHealthClient(s.conn)
	watch, err := health.Watch(t.Context(), &healthapi.HealthCheckRequest{})
	require.NoError(t, err)
	state, err := watch.Recv()
	require.NoError(t, err)
	require.Equal(t, serving, state.GetStatus())

	require.NoError(t, os.Rename(root, root+".away"))
	_, err = s.engine.Stat(asEngine(t), "key")
	require.ErrorIs(t, err, errdefs.ErrUnavailable)
	require.ErrorContains(t, err, "was its file system unmounted")
	require.ErrorIs(t, s.engine.Walk(asEngine(t), nil), errdefs.ErrUnavailable)
	state, err = watch.Recv()
	require.NoError(t, err)
	require.Equal(t, healthapi.HealthCheckResponse_NOT_SERVING, state.GetStatus())

	require.NoError(t, os.Mkdir(root, 0o700))
	_, err = s.engine.Stat(asEngine(t), "key")
	require.ErrorIs(t, err, errdefs.ErrUnavailable, "another directory in its place")
	require.NoError(t, os.Remove(root))
	require.NoError(t, os.Rename(root+".away", root))
	_, err = s.engine.Stat(asEngine(t), "key")
	require.NoError(t, err)
	state, err = watch.Recv()
	require.NoError(t, err)
	require.Equal(t, serving, state.GetStatus())
}

// gated is a layer of which the second half is there when the gate is opened.
type gated struct {
	layer []byte
	half  int
	at    int
	begun chan struct{}
	gate  chan struct{}
}

func newGated(t *testing.T) *gated {
	t.Helper()
	// More than a connection keeps under way, so that the server has read some of
	// the first half when that has been read here.
	layer := fstest.Layer(t, fstest.File("a", strings.Repeat("x", 8<<20)))
	return &gated{layer: layer, half: len(layer) / 2, begun: make(chan struct{}), gate: make(chan struct{})}
}

func (g *gated) Read(p []byte) (int, error) {
	if g.at == g.half {
		close(g.begun)
		<-g.gate
	}
	if g.at == len(g.layer) {
		return 0, io.EOF
	}
	end := len(g.layer)
	if g.at < g.half {
		end = g.half
	}
	n := copy(p, g.layer[g.at:end])
	g.at += n
	return n, nil
}

// applying begins to apply the layer to a new snapshot and returns when the
// call is under way.
func applying(t *testing.T, s *served, key string, layer *gated) <-chan error {
	t.Helper()
	tool := s.tool()
	require.NoError(t, tool.Create(t.Context(), key, "", nil))
	result := make(chan error, 1)
	go func() {
		_, err := tool.Apply(t.Context(), key, layer, driver.ApplyOptions{})
		result <- err
	}()
	select {
	case <-layer.begun:
	case err := <-result:
		require.NoError(t, err)
		require.Fail(t, "the call ended before the layer did")
	}
	return result
}

func TestAStopFinishesCallsInFlightAndTakesNoNewOnes(t *testing.T) {
	root := t.TempDir()
	s := start(t, root, "vfs", func(c *config.Config) { c.StopTimeout = config.Duration(time.Hour) })
	layer := newGated(t)
	result := applying(t, s, "key", layer)
	watch, err := healthapi.NewHealthClient(s.conn).Watch(t.Context(), &healthapi.HealthCheckRequest{})
	require.NoError(t, err)
	_, err = watch.Recv()
	require.NoError(t, err)
	_, err = s.tool().Reserve(t.Context(), time.Minute, "a name that is held")
	require.NoError(t, err)

	s.cancel()
	_, err = watch.Recv()
	for err == nil { // it may say first that nothing is served any more
		_, err = watch.Recv()
	}
	require.Equal(t, codes.Unavailable, status.Code(err), "what never ends by itself is ended")
	eventually(t, func() bool {
		_, err := s.engine.Stat(asEngine(t), "x")
		return errdefs.IsUnavailable(err)
	}, "new calls are refused")
	require.NoFileExists(t, s.config.Address)
	close(layer.gate)
	require.NoError(t, <-result)
	require.NoError(t, s.stop())
	require.NotContains(t, s.log.String(), "cancelled")
}

func TestAStopCancelsWhatTakesTooLong(t *testing.T) {
	s := start(t, t.TempDir(), "vfs", func(c *config.Config) { c.StopTimeout = config.Duration(50 * time.Millisecond) })
	layer := newGated(t)
	result := applying(t, s, "key", layer)
	require.ErrorIs(t, s.stop(), ErrCutShort)
	close(layer.gate)
	err := <-result
	require.ErrorIs(t, err, errdefs.ErrUnavailable)
	require.ErrorContains(t, err, "the service is stopping")
}

// A frozen engine does not answer, but has no call that could be cut short.
func TestAStopDoesNotWaitForClientsThatSayNothing(t *testing.T) {
	for name, said := range map[string]string{
		"nothing was said":       "",
		"there never was a call": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, t.TempDir(), "vfs", func(c *config.Config) { c.StopTimeout = config.Duration(time.Hour) })
			silent, err := net.Dial("unix", s.config.Address)
			require.NoError(t, err)
			defer silent.Close()
			_, err = silent.Write([]byte(said))
			require.NoError(t, err)
			_, err = s.engine.Prepare(asEngine(t), "key", "")
			require.NoError(t, err)
			begin := time.Now()
			require.NoError(t, s.stop())
			require.Less(t, time.Since(begin), fstest.Patience)
			_, err = io.Copy(io.Discard, silent)
			require.NoError(t, err, "the connection is closed")
		})
	}
}

func TestAServerOfWhichASocketFailsEndsWithItsError(t *testing.T) {
	s := start(t, t.TempDir(), "vfs", nil)
	require.NoError(t, s.stop())
	server, err := New(reopened(t, s), Options{Config: s.config})
	require.NoError(t, err)
	broken := errors.New("broken")
	require.ErrorIs(t, server.Serve(t.Context(), failingListener{broken}), broken)
}

type failingListener struct{ err error }

func (f failingListener) Accept() (net.Conn, error) { return nil, f.err }
func (f failingListener) Close() error              { return nil }
func (f failingListener) Addr() net.Addr            { return &net.UnixAddr{Name: "broken", Net: "unix"} }

func reopened(t *testing.T, s *served) *snapshotter.Snapshotter {
	t.Helper()
	store, err := snapshotter.Open(t.Context(), s.root, snapshotter.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	return store
}
