package service

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

func newCalls(t *testing.T) (*calls, *syncBuffer) {
	t.Helper()
	guard, err := newRootGuard(t.TempDir())
	require.NoError(t, err)
	log := &syncBuffer{}
	return &calls{
		log:   slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		guard: guard, stopped: t.Context(), idle: t.Context(), held: t.Context(),
	}, log
}

// fakeStream is a stream of one message.
type fakeStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (f fakeStream) Context() context.Context { return f.ctx }
func (f fakeStream) RecvMsg(m any) error {
	m.(*snapshotsapi.UsageRequest).Key = "the key"
	return nil
}

func TestAPanicEndsTheCallAndNotTheService(t *testing.T) {
	c, log := newCalls(t)
	_, err := c.unary(t.Context(), nil, &grpc.UnaryServerInfo{FullMethod: "/a.B/Do"}, func(context.Context, any) (any, error) {
		panic("at the disco")
	})
	require.Equal(t, codes.Internal, status.Code(err))
	err = c.stream(nil, fakeStream{ctx: t.Context()}, &grpc.StreamServerInfo{FullMethod: "/a.B/Stream"}, func(any, grpc.ServerStream) error {
		panic("again")
	})
	require.Equal(t, codes.Internal, status.Code(err))
	require.Contains(t, log.String(), "at the disco")
	require.Contains(t, log.String(), "calls_test.go", "the stack")
}

func TestTheNamespaceOfACallIsInItsContext(t *testing.T) {
	c, _ := newCalls(t)
	ctx := metadata.NewIncomingContext(t.Context(), metadata.Pairs("containerd-namespace", "k8s.io"))
	_, err := c.unary(ctx, nil, &grpc.UnaryServerInfo{FullMethod: "/a.B/Do"}, func(ctx context.Context, _ any) (any, error) {
		out, _ := metadata.FromOutgoingContext(ctx)
		require.Equal(t, []string{"k8s.io"}, out.Get("containerd-namespace"))
		ns, ok := namespaces.Namespace(ctx)
		require.True(t, ok)
		require.Equal(t, "k8s.io", ns)
		return nil, nil
	})
	require.NoError(t, err)
}

func TestTheFirstMessageOfAStreamSaysWhatItIsAbout(t *testing.T) {
	c, log := newCalls(t)
	err := c.stream(nil, fakeStream{ctx: t.Context()}, &grpc.StreamServerInfo{FullMethod: "/a.B/Stream"}, func(_ any, s grpc.ServerStream) error {
		return s.RecvMsg(&snapshotsapi.UsageRequest{})
	})
	require.NoError(t, err)
	require.Contains(t, log.String(), `key="the key"`)
}

func TestAStopIsTheErrorOfTheCallsItEnds(t *testing.T) {
	c, _ := newCalls(t)
	stopped, stop := context.WithCancel(t.Context())
	c.stopped = stopped
	_, err := c.unary(t.Context(), nil, &grpc.UnaryServerInfo{FullMethod: "/a.B/Do"}, func(ctx context.Context, _ any) (any, error) {
		stop()
		<-ctx.Done()
		return nil, errors.Join(errors.New("something was interrupted"), ctx.Err())
	})
	require.Equal(t, codes.Unavailable, status.Code(err))
	require.ErrorContains(t, err, "stopping")
}
