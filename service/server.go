package service

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/contrib/snapshotservice"
	"google.golang.org/grpc"

	"github.com/layerkeep/layerkeep/snapshotter"
)

// EngineScope is the scope of the snapshots that a containerd engine makes.
const EngineScope = "containerd"

// A Server serves one store until it is stopped.
type Server struct {
	log  *slog.Logger
	grpc *grpc.Server
}

// New returns a server of the store, which the caller closes after Serve.
func New(store *snapshotter.Snapshotter, log *slog.Logger) (*Server, error) {
	scope, err := store.Scope(EngineScope)
	if err != nil {
		return nil, err
	}
	s := &Server{log: log, grpc: grpc.NewServer()}
	snapshotsapi.RegisterSnapshotsServer(s.grpc, snapshotservice.FromSnapshotter(scope))
	return s, nil
}

// Listen makes the socket at path, mode 0600, its directory with it.
func Listen(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o711); err != nil {
		return nil, err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
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
