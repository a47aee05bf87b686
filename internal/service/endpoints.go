package service

import (
	"context"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"time"

	diffapi "github.com/containerd/containerd/api/services/diff/v1"
	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/contrib/diffservice"
	"github.com/containerd/containerd/v2/contrib/snapshotservice"
	"google.golang.org/grpc"
	healthapi "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	"github.com/layerkeep/layerkeep/internal/service/differ"
	"github.com/layerkeep/layerkeep/internal/service/graphdriver"
	"github.com/layerkeep/layerkeep/internal/service/metrics"
	"github.com/layerkeep/layerkeep/internal/service/storeservice"
	"github.com/layerkeep/layerkeep/snapshotter"
)

// Bounds of what one connection may do.
const (
	maxHeaders       = 64 << 10 // bytes
	handshakeTimeout = 10 * time.Second
	// pingInterval is how often a silent client is asked whether it is there, and
	// pingPatience how long it may think about it.
	pingInterval = time.Minute
	pingPatience = 20 * time.Second
	// minPing is how often a client may ask us.
	minPing = 5 * time.Second
)

// assemble makes a server for every socket.
func (s *Server) assemble(ctx context.Context, sockets Sockets) error {
	scope, err := s.store.Scope(EngineScope)
	if err != nil {
		return err
	}
	store := storeservice.New(s.local, storeservice.Options{Version: s.version, Collected: s.collected, Checked: s.checked})
	s.checks.store = store
	main := s.newGRPC(scope)
	// Who can use an engine's socket can change what the engine has, and nothing
	// else.
	store.Register(main)
	// Layers lie in the content store of one engine; the others apply and compare
	// themselves.
	d := engineDiffer{differ.New(s.store, scope, s.engine, differ.Options{Logger: s.log, Limits: s.config.Limit.Limits()})}
	diffapi.RegisterDiffServer(main, diffServer{diffservice.FromApplierAndComparer(d, d)})
	s.grpcs = append(s.grpcs, endpoint[*grpc.Server]{"containerd", main, newLineListener(sockets.Main)})
	for _, name := range slices.Sorted(maps.Keys(sockets.Engines)) {
		scope, err := s.store.Scope(name)
		if err != nil {
			return err
		}
		s.grpcs = append(s.grpcs, endpoint[*grpc.Server]{name, s.newGRPC(scope), newLineListener(sockets.Engines[name])})
	}
	for _, name := range slices.Sorted(maps.Keys(sockets.Graphdrivers)) {
		if err := s.addGraphdriver(ctx, name, sockets.Graphdrivers[name]); err != nil {
			return err
		}
	}
	s.warnOfNetwork(ctx, "metrics-address", sockets.Metrics)
	s.warnOfNetwork(ctx, "pprof-address", sockets.Pprof)
	if l := sockets.Metrics; l != nil {
		s.addHTTP("metrics", metricsMux(s.metrics.Handler()), l)
	}
	if l := sockets.Pprof; l != nil {
		s.addHTTP("pprof", pprofMux(), l)
	}
	return nil
}

// warnOfNetwork says what an address of the network means, which can only be a
// loopback one.
func (s *Server) warnOfNetwork(ctx context.Context, option string, l net.Listener) {
	if l != nil && l.Addr().Network() != "unix" {
		s.log.WarnContext(ctx, "every user of this machine, and every container in its network, can read this; a unix socket can be closed to them",
			"option", option, "address", l.Addr().String())
	}
}

// newGRPC returns a server of the scope, with what every engine needs.
func (s *Server) newGRPC(scope *snapshotter.Scope) *grpc.Server {
	server := grpc.NewServer(
		grpc.ChainUnaryInterceptor(s.metrics.Unary, s.calls.unary),
		grpc.ChainStreamInterceptor(s.metrics.Stream, s.calls.stream),
		grpc.MaxRecvMsgSize(s.config.MaxMessageBytes), grpc.MaxSendMsgSize(s.config.MaxMessageBytes),
		grpc.MaxConcurrentStreams(uint32(s.config.MaxStreams)), //nolint:gosec // checked to be small
		grpc.MaxHeaderListSize(maxHeaders), grpc.ConnectionTimeout(handshakeTimeout),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: pingInterval, Timeout: pingPatience}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: minPing, PermitWithoutStream: true}),
		grpc.WaitForHandlers(true),
	)
	engine := engineScope{scope}
	snapshotsapi.RegisterSnapshotsServer(server, snapshotsServer{snapshotservice.FromSnapshotter(engine), engine})
	healthapi.RegisterHealthServer(server, s.health)
	reflection.Register(server)
	return server
}

func (s *Server) collected(c storeservice.Collection) { s.metrics.ObserveGC(metrics.Collection(c)) }

func (s *Server) addGraphdriver(ctx context.Context, name string, l net.Listener) error {
	d, err := graphdriver.New(ctx, s.store, graphdriver.Options{
		Name: name, MountRoot: s.config.GraphdriverMounts, Logger: s.log.With("graphdriver", name),
	})
	if err != nil {
		return err
	}
	server := d.Server()
	server.Handler = s.metrics.GraphDriver(s.guarded(server.Handler))
	server.BaseContext = func(net.Listener) context.Context { return s.calls.stopped }
	s.https = append(s.https, endpoint[*http.Server]{"graphdriver " + name, server, l})
	return nil
}

func (s *Server) addHTTP(name string, handler http.Handler, l net.Listener) {
	s.https = append(s.https, endpoint[*http.Server]{name, &http.Server{
		Handler: handler, ReadHeaderTimeout: handshakeTimeout, IdleTimeout: pingInterval, MaxHeaderBytes: maxHeaders,
		ErrorLog:    slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
		BaseContext: func(net.Listener) context.Context { return s.calls.idle },
	}, l})
}
