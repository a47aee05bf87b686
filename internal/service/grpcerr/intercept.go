package grpcerr

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// askHeader asks a server for the names of sentinel errors.
const askHeader = "layerkeep-errors"

// UnaryServer gives the errors of calls their status.
func UnaryServer(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	resp, err := handler(ctx, req)
	return resp, answer(ctx, err)
}

// StreamServer gives the errors of streams their status.
func StreamServer(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	return answer(stream.Context(), handler(srv, stream))
}

func answer(ctx context.Context, err error) error {
	if asked := metadata.ValueFromIncomingContext(ctx, askHeader); len(asked) > 0 {
		return detailed(err)
	}
	return ToGRPC(err)
}

// DialOptions make a client ask for names, and return errors as [FromGRPC]
// does, from calls and from streams.
func DialOptions() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithChainUnaryInterceptor(unaryClient), grpc.WithChainStreamInterceptor(streamClient),
	}
}

func ask(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, askHeader, "1")
}

func unaryClient(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoker grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	return FromGRPC(invoker(ask(ctx), method, req, reply, cc, opts...))
}

func streamClient(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	s, err := streamer(ask(ctx), desc, cc, method, opts...)
	if err != nil {
		return nil, FromGRPC(err)
	}
	return clientStream{s}, nil
}

// clientStream is a stream whose errors are those of the server.
type clientStream struct{ grpc.ClientStream }

func (c clientStream) SendMsg(m any) error { return FromGRPC(c.ClientStream.SendMsg(m)) }
func (c clientStream) RecvMsg(m any) error { return FromGRPC(c.ClientStream.RecvMsg(m)) }
func (c clientStream) CloseSend() error    { return FromGRPC(c.ClientStream.CloseSend()) }

func (c clientStream) Header() (metadata.MD, error) {
	md, err := c.ClientStream.Header()
	return md, FromGRPC(err)
}
