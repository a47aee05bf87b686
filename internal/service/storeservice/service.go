package storeservice

import (
	"context"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/layerkeep/layerkeep"
	storev1 "github.com/layerkeep/layerkeep/api/store/v1"
	"github.com/layerkeep/layerkeep/check"
	"github.com/layerkeep/layerkeep/internal/storewire"
)

// Options tune [New].
type Options struct {
	// Version is told to clients.
	Version string
	// Collected is told of every garbage collection that has ended; nil: nobody.
	Collected func(Collection)
	// Checked is told of every check of the whole store that has ended; nil:
	// nobody.
	Checked func(Checked)
}

// Checked tells of one check.
type Checked struct {
	ReadData bool
	Summary  check.Summary
	Duration time.Duration
	Err      error
}

// A Collection tells of one garbage collection.
type Collection struct {
	Snapshots, Blobs int
	Bytes            int64
	Duration         time.Duration
	Err              error
}

// A Service serves one store. It is safe for concurrent use.
type Service struct {
	storev1.UnimplementedStoreServer
	store layerkeep.Store
	opts  Options
	holds holds
	calls calls
	// checking is held by the check that runs.
	checking sync.Mutex
}

// New returns a service of the store, which stays the caller's: it closes the
// store when no call is in flight any more.
func New(store layerkeep.Store, opts Options) *Service { return &Service{store: store, opts: opts} }

// Register makes a server offer the service. The server needs the interceptors
// of package grpcerr for clients to tell errors apart.
func (s *Service) Register(server grpc.ServiceRegistrar) { storev1.RegisterStoreServer(server, s) }

// Info implements the call of that name.
func (s *Service) Info(context.Context, *storev1.InfoRequest) (*storev1.InfoResponse, error) {
	return &storev1.InfoResponse{
		Root: []byte(s.store.Root()), Driver: s.store.DriverName(), Properties: storewire.FromProperties(s.store.Properties()),
		Pid: int64(os.Getpid()), Version: s.opts.Version,
	}, nil
}
