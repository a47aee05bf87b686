package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthapi "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/layerkeep/layerkeep"
	"github.com/layerkeep/layerkeep/internal/service/config"
	"github.com/layerkeep/layerkeep/internal/service/differ"
	"github.com/layerkeep/layerkeep/internal/service/metrics"
	"github.com/layerkeep/layerkeep/snapshotter"
)

// EngineScope is the scope of the snapshots that the engine on the default
// socket makes, a containerd mostly.
const EngineScope = "containerd"

// Options tune a [Server].
type Options struct {
	// Config says what is served; its Root and Driver matter to [Run] alone.
	// The zero value means [config.Default].
	Config config.Config
	// Version is that of the program, Commit what it was built from.
	Version, Commit string
	// Logger receives a record of every call; nil discards it.
	Logger *slog.Logger
	// Metrics counts calls; nil: the server makes its own. Who opens the store
	// gives it the Observer of the same ones.
	Metrics *metrics.Metrics
}

// A Server serves one store until it is stopped. It can be used once.
type Server struct {
	store   *snapshotter.Snapshotter
	local   *layerkeep.Local
	config  config.Config
	version string
	log     *slog.Logger
	metrics *metrics.Metrics
	guard   *rootGuard
	calls   *calls
	health  *health.Server
	engine  *differ.Engine
	checks  regularChecks

	// stop ends the calls in flight, rest those that never end by themselves, and
	// letGo those that only keep others away.
	stop, rest, letGo context.CancelFunc

	grpcs []endpoint[*grpc.Server]
	https []endpoint[*http.Server]
}

// An endpoint is a server with what it listens on.
type endpoint[S any] struct {
	name     string
	server   S
	listener net.Listener
}

// New returns a server of the store, which stays the caller's and is closed
// after Serve. Nothing is served before that.
func New(store *snapshotter.Snapshotter, opts Options) (*Server, error) {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Config.Address == "" {
		opts.Config = config.Default()
	}
	if opts.Metrics == nil {
		opts.Metrics = NewMetrics(opts)
	}
	local, err := layerkeep.Over(store)
	if err != nil {
		return nil, err
	}
	guard, err := newRootGuard(store.Root())
	if err != nil {
		return nil, err
	}
	engine, err := differ.NewEngine(opts.Config.ContainerdAddress)
	if err != nil {
		return nil, err
	}
	if err := opts.Metrics.Watch(store); err != nil {
		return nil, errors.Join(err, engine.Close())
	}
	s := &Server{
		store: store, local: local, config: opts.Config, version: opts.Version, log: opts.Logger, metrics: opts.Metrics,
		guard: guard, health: health.NewServer(), engine: engine,
	}
	s.calls = &calls{log: opts.Logger, guard: guard}
	s.calls.stopped, s.stop = context.WithCancel(context.Background())
	s.calls.idle, s.rest = context.WithCancel(s.calls.stopped)
	s.calls.held, s.letGo = context.WithCancel(s.calls.stopped)
	return s, nil
}

// NewMetrics returns metrics of this build.
func NewMetrics(opts Options) *metrics.Metrics {
	b := metrics.Build{Version: opts.Version, Commit: opts.Commit, Go: runtime.Version()}
	if info, ok := debug.ReadBuildInfo(); ok && b.Version == "" {
		b.Version = info.Main.Version
	}
	return metrics.New(b)
}

// Serve answers on l, as the default socket, and on nothing else; see
// [Server.ServeAll].
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	return s.ServeAll(ctx, Sockets{Main: l})
}

// ServeAll answers on the sockets, and closes them, until ctx ends or one of
// them fails. Then it takes no new calls, lets those in flight end, cancels
// them when that takes longer than the StopTimeout of the configuration, and
// returns when none is left. The error is that of a socket, or says that calls
// were cancelled.
func (s *Server) ServeAll(ctx context.Context, sockets Sockets) error {
	defer s.engine.Close()
	if err := s.assemble(ctx, sockets); err != nil {
		s.release()
		return errors.Join(err, sockets.Close())
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var failure error
	var once sync.Once
	fail := func(name string, l net.Listener, err error) {
		once.Do(func() {
			if ctx.Err() == nil { // else it is we who have closed it
				failure = fmt.Errorf("serve %s on %s: %w", name, l.Addr(), err)
			}
		})
		cancel()
	}
	var running sync.WaitGroup
	for _, e := range s.grpcs {
		running.Go(func() {
			if err := e.server.Serve(e.listener); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
				fail(e.name, e.listener, err)
			}
		})
	}
	for _, e := range s.https {
		running.Go(func() {
			if err := e.server.Serve(e.listener); err != nil && !errors.Is(err, http.ErrServerClosed) {
				fail(e.name, e.listener, err)
			}
		})
	}
	s.setHealth(true)
	running.Go(func() { s.watch(ctx) })
	running.Go(func() { s.checkRegularly(ctx) })
	s.log.InfoContext(ctx, "serving", "root", s.store.Root(), "driver", s.store.Driver().Name(), "version", s.version, "sockets", sockets.String())
	s.notify(ctx, notifyReady)
	<-ctx.Done()
	err := s.shutDown(context.WithoutCancel(ctx), sockets)
	running.Wait()
	return errors.Join(failure, err)
}

// setHealth tells all that watch whether the service can do its work.
func (s *Server) setHealth(healthy bool) {
	state := healthapi.HealthCheckResponse_SERVING
	if !healthy {
		state = healthapi.HealthCheckResponse_NOT_SERVING
	}
	s.health.SetServingStatus("", state)
	for _, e := range s.grpcs {
		for name := range e.server.GetServiceInfo() {
			s.health.SetServingStatus(name, state)
		}
	}
}

// watch looks after the directory of the store and tells systemd that we live.
func (s *Server) watch(ctx context.Context) {
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	dog := newWatchdog()
	healthy := true
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := s.guard.check()
		if now := err == nil; now != healthy {
			healthy = now
			s.setHealth(healthy)
			if healthy {
				s.log.InfoContext(ctx, "the directory of the store is back", "root", s.store.Root())
			} else {
				s.log.ErrorContext(ctx, "calls are refused", "error", err)
			}
		}
		// A store whose directory is away is no reason to be killed: what is open
		// of it would be lost.
		if dog.due(time.Now()) {
			s.notify(ctx, notifyWatchdog)
		}
	}
}
