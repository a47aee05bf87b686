package grpcerr

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"

	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthapi "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/snapshotter"
)

// failing is a service of which every call fails as asked.
type failing struct {
	healthapi.UnimplementedHealthServer
	err error
}

func (f *failing) Check(context.Context, *healthapi.HealthCheckRequest) (*healthapi.HealthCheckResponse, error) {
	return nil, f.err
}

func (f *failing) Watch(_ *healthapi.HealthCheckRequest, s healthapi.Health_WatchServer) error {
	if err := s.Send(&healthapi.HealthCheckResponse{}); err != nil {
		return err
	}
	return f.err
}

// serve returns a client of the service, and its server.
func serve(t *testing.T, f *failing, opts ...grpc.DialOption) (healthapi.HealthClient, *grpc.Server) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	require.NoError(t, err)
	server := grpc.NewServer(grpc.UnaryInterceptor(UnaryServer), grpc.StreamInterceptor(StreamServer))
	healthapi.RegisterHealthServer(server, f)
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-done; !errors.Is(err, grpc.ErrServerStopped) { // before it began
			require.NoError(t, err)
		}
	})
	conn, err := grpc.NewClient("unix:"+path, append(opts, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	return healthapi.NewHealthClient(conn), server
}

// call returns the errors of a call and of a stream.
func call(t *testing.T, client healthapi.HealthClient) []error {
	t.Helper()
	_, unary := client.Check(t.Context(), &healthapi.HealthCheckRequest{})
	stream, err := client.Watch(t.Context(), &healthapi.HealthCheckRequest{})
	require.NoError(t, err)
	_, err = stream.Recv()
	require.NoError(t, err)
	_, err = stream.Recv()
	return []error{unary, err}
}

func TestEverySentinelReachesOurClientWithItsText(t *testing.T) {
	f := &failing{}
	client, _ := serve(t, f, DialOptions()...)
	for _, s := range sentinels() {
		f.err = fmt.Errorf("prepare %q: %w: details", "key", s.err)
		for _, err := range call(t, client) {
			require.ErrorIs(t, err, s.err, s.reason)
			require.EqualError(t, err, f.err.Error())
			require.NotErrorIs(t, err, ErrNoAnswer)
			for _, other := range sentinels() {
				require.Equal(t, errors.Is(f.err, other.err), errors.Is(err, other.err), "%s as %s", s.reason, other.reason)
			}
		}
	}
}

func TestEnginesSeeCodeAndTextAndNothingElse(t *testing.T) {
	f := &failing{}
	client, _ := serve(t, f)
	for _, s := range sentinels() {
		f.err = fmt.Errorf("prepare %q: %w: details", "key", s.err)
		for _, err := range call(t, client) {
			require.Empty(t, status.Convert(err).Details())
			require.Equal(t, f.err.Error(), status.Convert(err).Message())
			if s.code != codes.OK {
				require.Equal(t, s.code, status.Code(err), s.reason)
			}
			require.Contains(t, errgrpc.ToNative(err).Error(), f.err.Error())
		}
	}
}

func TestKindsOfErrdefsSurviveTheWayToAnEngine(t *testing.T) {
	f := &failing{}
	client, _ := serve(t, f)
	for _, kind := range []error{
		errdefs.ErrNotFound, errdefs.ErrAlreadyExists, errdefs.ErrInvalidArgument, errdefs.ErrFailedPrecondition,
		errdefs.ErrUnavailable, errdefs.ErrNotImplemented, errdefs.ErrResourceExhausted, errdefs.ErrPermissionDenied,
		errdefs.ErrDataLoss, errdefs.ErrOutOfRange, errdefs.ErrAborted, errdefs.ErrInternal, errdefs.ErrUnauthenticated,
	} {
		f.err = fmt.Errorf("key: %w", kind)
		for _, err := range call(t, client) {
			require.ErrorIs(t, errgrpc.ToNative(err), kind)
		}
	}
}

func TestReasonsAreUnique(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range sentinels() {
		require.False(t, seen[s.reason], s.reason)
		require.NotContains(t, []string{reasonOther, reasonPath}, s.reason)
		seen[s.reason] = true
	}
}

func TestWhatTheMachineLacksDecidesBeforeWhatWasDone(t *testing.T) {
	full := fmt.Errorf("%w: %w", driver.ErrInvalidLayer, &fs.PathError{Op: "write", Path: "/x", Err: syscall.ENOSPC})
	require.Equal(t, codes.ResourceExhausted, Code(full))
	require.Equal(t, codes.Canceled, Code(fmt.Errorf("%w: %w", driver.ErrNotFound, context.Canceled)))
	require.Equal(t, codes.Unavailable, Code(&fs.PathError{Op: "open", Path: "/x", Err: syscall.EROFS}))
	require.Equal(t, codes.Internal, Code(&fs.PathError{Op: "read", Path: "/x", Err: syscall.EIO}))
	require.Equal(t, codes.Unknown, Code(errors.New("what")))
	require.Equal(t, codes.Unavailable, Code(fmt.Errorf("remove: %w", driver.ErrBusy)))
	busy := errors.Join(errdefs.ErrFailedPrecondition, driver.ErrBusy)
	require.Equal(t, codes.FailedPrecondition, Code(busy), "its kind was said")
	require.Equal(t, codes.OK, Code(nil))
	require.Equal(t, codes.Unavailable, Code(snapshotter.ErrLocked))
}

func TestTheNamesOfAFileReachOurClient(t *testing.T) {
	f := &failing{err: fmt.Errorf("open it: %w", &fs.PathError{Op: "open", Path: "/a/b", Err: syscall.ENOENT})}
	client, _ := serve(t, f, DialOptions()...)
	for _, err := range call(t, client) {
		var path *fs.PathError
		require.ErrorAs(t, err, &path)
		require.Equal(t, "/a/b", path.Path)
		require.ErrorIs(t, err, fs.ErrNotExist)
		require.EqualError(t, err, f.err.Error())
	}
}

func TestAnErrorWithoutANameIsStillAnAnswer(t *testing.T) {
	f := &failing{err: errors.New("something else")}
	client, _ := serve(t, f, DialOptions()...)
	for _, err := range call(t, client) {
		require.EqualError(t, err, "something else")
		require.NotErrorIs(t, err, ErrNoAnswer)
	}
}

func TestAnErrorWithAStatusKeepsItsCodeAndItsNames(t *testing.T) {
	inner := fmt.Errorf("%w here", driver.ErrBusy)
	f := &failing{err: errgrpc.ToGRPC(ToGRPC(inner))} // as an adapter of contrib has it
	client, _ := serve(t, f, DialOptions()...)
	for _, err := range call(t, client) {
		require.ErrorIs(t, err, driver.ErrBusy)
		require.EqualError(t, err, inner.Error())
		require.Equal(t, codes.Unavailable, status.Code(err))
	}
	f.err = status.Error(codes.ResourceExhausted, "a limit")
	for _, err := range call(t, client) {
		require.EqualError(t, err, "a limit")
		require.Equal(t, codes.ResourceExhausted, status.Code(err))
	}
}

func TestALongOrBrokenTextStillTravels(t *testing.T) {
	for _, text := range []string{strings.Repeat("ü", 100_000), "a\xff\xfe\x00b\nc", strings.Repeat("\xff", 5000)} {
		f := &failing{err: &fs.PathError{Op: "open", Path: text, Err: errors.New(text)}}
		client, _ := serve(t, f, DialOptions()...)
		for _, err := range call(t, client) {
			require.NotErrorIs(t, err, ErrNoAnswer)
			require.True(t, utf8.ValidString(err.Error()))
			require.LessOrEqual(t, len(err.Error()), 3*maxMessage)
		}
	}
}

func TestALostServiceIsTold(t *testing.T) {
	client, server := serve(t, &failing{}, DialOptions()...)
	server.Stop()
	_, err := client.Check(t.Context(), &healthapi.HealthCheckRequest{})
	require.ErrorIs(t, err, ErrNoAnswer)
	require.ErrorIs(t, err, errdefs.ErrUnavailable)
}

func TestACancelledCallMatchesItsContext(t *testing.T) {
	client, _ := serve(t, &failing{}, DialOptions()...)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := client.Check(ctx, &healthapi.HealthCheckRequest{})
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, ErrNoAnswer)
}

func TestNilAndTheEndOfAStreamStayAsTheyAre(t *testing.T) {
	require.NoError(t, FromGRPC(nil))
	require.NoError(t, ToGRPC(nil))
	require.Equal(t, io.EOF, FromGRPC(io.EOF))
	once := FromGRPC(status.Error(codes.NotFound, "x"))
	require.Equal(t, once, FromGRPC(once))
}
