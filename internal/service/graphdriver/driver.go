package graphdriver

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"time"

	"github.com/layerkeep/layerkeep/internal/keylock"
	"github.com/layerkeep/layerkeep/snapshotter"
)

// DefaultMountRoot is the directory below which layers are mounted.
const DefaultMountRoot = "/run/layerkeep/graph"

// Options tune [New].
type Options struct {
	// Name is the plugin's name, which Docker calls the storage driver; see
	// [CheckName].
	Name string
	// MountRoot is the directory in which the one with the mount points, NAME, is
	// made; empty means DefaultMountRoot. Docker must see what is mounted there,
	// so it has to be in the mount namespace of dockerd.
	MountRoot string
	// Logger receives every failed call, and at the level of debugging every
	// call; nil discards them.
	Logger *slog.Logger
}

// A Driver answers Docker's calls from a store. It is an http.Handler, safe for
// concurrent use: calls on one layer run one after the other, but for those
// that only read.
type Driver struct {
	store *snapshotter.Snapshotter
	scope *snapshotter.Scope
	name  string
	log   *slog.Logger
	mux   *http.ServeMux
	// ids order the calls that change one layer. Nobody holds two at once, so that
	// hostile IDs cannot make calls wait for each other.
	ids    keylock.Locks
	mounts *mountTable

	patience time.Duration // with who reads a response
}

var _ http.Handler = (*Driver)(nil)

// New returns a driver over the store, which stays the caller's. It finds the
// mounts that an earlier process has left and unmounts those of layers that are
// gone.
//
// The error matches errdefs.ErrInvalidArgument for a name that is none.
func New(ctx context.Context, store *snapshotter.Snapshotter, opts Options) (*Driver, error) {
	if err := CheckName(opts.Name); err != nil {
		return nil, err
	}
	scope, err := store.Scope(scopePrefix + opts.Name)
	if err != nil {
		return nil, err
	}
	d := &Driver{store: store, scope: scope, name: opts.Name, log: opts.Logger, patience: readPatience}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	if opts.MountRoot == "" {
		opts.MountRoot = DefaultMountRoot
	}
	if d.mounts, err = openMountTable(filepath.Join(opts.MountRoot, opts.Name)); err != nil {
		return nil, fmt.Errorf("mount points of the graph driver %s: %w", opts.Name, err)
	}
	d.mux = d.routes()
	d.dropStrayMounts(ctx)
	return d, nil
}

// Bounds of a request beside those in http.go.
const (
	headerTimeout  = 10 * time.Second
	maxHeaderBytes = 64 << 10
)

// Server returns a server of the driver with bounds on what a client may send
// and hold. Handler may be wrapped before Serve. Layers stay mounted when it is
// shut down.
func (d *Driver) Server() *http.Server {
	return &http.Server{
		Handler: d, ReadHeaderTimeout: headerTimeout, MaxHeaderBytes: maxHeaderBytes,
		ErrorLog: slog.NewLogLogger(d.log.Handler(), slog.LevelWarn),
	}
}

// Scope returns the name of the scope of the driver's snapshots in the store.
func (d *Driver) Scope() string { return d.scope.Name() }

// ServeHTTP answers one call of Docker's.
func (d *Driver) ServeHTTP(w http.ResponseWriter, r *http.Request) { d.mux.ServeHTTP(w, r) }

// lock waits for the layer and returns what gives it free again.
func (d *Driver) lock(ctx context.Context, id string) (unlock func(), err error) {
	if unlock, err = d.ids.Lock(ctx, id); err != nil {
		err = fmt.Errorf("wait for other calls on layer %s: %w", id, err)
	}
	return unlock, err
}
