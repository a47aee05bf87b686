package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"time"

	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/layerkeep/layerkeep/internal/service/grpcerr"
)

// errStopping ends the calls that are still in flight when the service has
// waited for them long enough.
var errStopping = fmt.Errorf("the service is stopping: %w", errdefs.ErrUnavailable)

// calls is what every gRPC call passes through, whatever the endpoint: a record
// in the log, the right status for errors, the namespace of the engine, an end
// when the service stops, refusal when the store is gone, and recovery from a
// panic, so that one request cannot end the service.
type calls struct {
	log   *slog.Logger
	guard *rootGuard
	// stopped ends all calls, idle those that would never end by themselves, and
	// held those that only keep others away.
	stopped, idle, held context.Context //nolint:containedctx // of the service, not of a call
	working             working
}

func (c *calls) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (resp any, err error) {
	start := time.Now()
	resp, err = grpcerr.UnaryServer(ctx, req, info, func(ctx context.Context, req any) (resp any, err error) {
		err = c.run(ctx, info.FullMethod, func(ctx context.Context) error {
			resp, err = handler(ctx, req)
			return err
		})
		return resp, err
	})
	c.record(ctx, info.FullMethod, req, start, err)
	return resp, err
}

func (c *calls) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	start := time.Now()
	seen := &seenStream{ServerStream: ss, ctx: ss.Context(), waits: endless(info.FullMethod) || info.FullMethod == holdMethod}
	err := grpcerr.StreamServer(srv, seen, info, func(srv any, _ grpc.ServerStream) error {
		return c.run(ss.Context(), info.FullMethod, func(ctx context.Context) error {
			seen.ctx = ctx
			return handler(srv, seen)
		})
	})
	c.record(ss.Context(), info.FullMethod, seen.first, start, err)
	return err
}

// run calls fn with the context of the call.
func (c *calls) run(ctx context.Context, method string, fn func(context.Context) error) (err error) {
	if !ofOurs(method) {
		if err := c.guard.check(); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ending := c.stopped
	switch {
	case endless(method), method == checkMethod:
		ending = c.idle
	case method == holdMethod:
		ending = c.held
	default:
		defer c.working.begin()()
	}
	defer context.AfterFunc(ending, func() { cancel(errStopping) })() //nolint:contextcheck // the end of the service ends the call too
	if ns, err := namespaces.NamespaceRequired(ctx); err == nil {
		ctx = namespaces.WithNamespace(ctx, ns)
	}
	defer func() {
		if p := recover(); p != nil {
			c.log.ErrorContext(ctx, "a call ended in a panic", "method", method, "panic", p, "stack", string(debug.Stack()))
			err = status.Error(codes.Internal, "the service has a fault, which its log tells of: "+fmt.Sprint(p))
		}
	}()
	return c.explain(ctx, method, fn(ctx))
}

// explain says why a call failed that failed for a reason of the service's.
func (c *calls) explain(ctx context.Context, method string, err error) error {
	if err == nil {
		return nil
	}
	if cause := context.Cause(ctx); errors.Is(cause, errStopping) {
		return cause
	}
	if !ofOurs(method) {
		if gone := c.guard.check(); gone != nil {
			return gone
		}
	}
	return err
}

// Calls about the service itself, which do not need the store; Watch of the
// health service and reflection last as long as the client likes.
var (
	serviceMethods = []string{
		"/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/List",
	}
	endlessMethods = []string{
		"/grpc.health.v1.Health/Watch",
		"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
		"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
	}
)

// checkMethod may read for hours, and changes nothing: a stop does not wait for
// it.
const checkMethod = "/layerkeep.store.v1.Store/Check"

// holdMethod keeps names for a client until that ends; it does nothing itself.
const holdMethod = "/layerkeep.store.v1.Store/Hold"

func endless(method string) bool { return slices.Contains(endlessMethods, method) }
func ofOurs(method string) bool {
	return endless(method) || slices.Contains(serviceMethods, method)
}

// seenStream keeps the first message of a stream for the log, and has the
// context that ends with the service.
type seenStream struct {
	grpc.ServerStream
	ctx   context.Context //nolint:containedctx // what a stream has
	first any
	// waits: its messages come when the client likes, so that waiting for one has
	// to end with the context.
	waits bool
}

func (s *seenStream) Context() context.Context { return s.ctx }

func (s *seenStream) RecvMsg(m any) error {
	err := s.receive(m)
	if err == nil && s.first == nil {
		s.first = m
	}
	return err
}

func (s *seenStream) receive(m any) error {
	if !s.waits {
		return s.ServerStream.RecvMsg(m)
	}
	received := make(chan error, 1)
	go func() { received <- s.ServerStream.RecvMsg(m) }() // ends with the stream at the latest
	select {
	case err := <-received:
		return err
	case <-s.ctx.Done():
		return context.Cause(s.ctx)
	}
}

// record logs one call.
func (c *calls) record(ctx context.Context, method string, req any, start time.Time, err error) {
	code := status.Code(err)
	level := levelOf(method, code)
	if !c.log.Enabled(ctx, level) {
		return
	}
	attrs := append(subject(method, req), slog.Duration("duration", time.Since(start)), slog.String("code", code.String()))
	if ns, ok := namespaces.Namespace(ctx); ok {
		attrs = append(attrs, slog.String("namespace", ns))
	}
	if err != nil {
		attrs = append(attrs, slog.String("error", status.Convert(err).Message()))
	}
	c.log.LogAttrs(ctx, level, "call", attrs...)
}
