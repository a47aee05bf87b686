package service

import (
	"context"
	"fmt"
	"log/slog"
	"net"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/contrib/snapshotservice"
	"google.golang.org/grpc"

	"github.com/layerkeep/layerkeep/service/config"
	"github.com/layerkeep/layerkeep/service/grpcerr"
	"github.com/layerkeep/layerkeep/snapshotter"
)

// EngineScope is the scope of the snapshots that the engine on the default socket
// makes, a containerd mostly.
const EngineScope = "containerd"

// Options tune a [Server].
type Options struct {
	// Config says what is served; its Root and Driver are of no meaning here.
	Config config.Config
	// Version is shown by reflection and in the log.
	Version string
	// Logger receives a record of every call; nil discards it.
	Logger *slog.Logger
}

// A Server serves one store until it is stopped.
type Server struct {
	log  *slog.Logger
	grpc *grpc.Server
}

// New returns a server of the store, which the caller closes after Serve.
func New(store *snapshotter.Snapshotter, opts Options) (*Server, error) {
	scope, err := store.Scope(EngineScope)
	if err != nil {
		return nil, err
	}
	s := &Server{log: opts.Logger, grpc: grpc.NewServer(
		grpc.ChainUnaryInterceptor(grpcerr.UnaryServer), grpc.ChainStreamInterceptor(grpcerr.StreamServer),
	)}
	snapshotsapi.RegisterSnapshotsServer(s.grpc, snapshotservice.FromSnapshotter(scope))
	return s, nil
}

// Serve answers on l until ctx ends, then finishes the calls in flight.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	stop := context.AfterFunc(ctx, s.grpc.GracefulStop)
	defer stop()
	if err := s.grpc.Serve(l); err != nil {
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	}
	return nil
}
