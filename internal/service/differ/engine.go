package differ

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	leasesapi "github.com/containerd/containerd/api/services/leases/v1"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"golang.org/x/sync/semaphore"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
)

// DefaultEngine is the socket on which containerd listens unless it is told
// otherwise.
const DefaultEngine = "/run/containerd/containerd.sock"

const (
	// patience is how long a call waits for an engine that does not answer, as
	// one that is being restarted.
	patience = 5 * time.Second
	// redial is the longest pause between attempts to reach the engine.
	redial = 500 * time.Millisecond
	// window is how much of a blob the engine may send ahead of what is read, in
	// bytes. Without it a stream waits for an answer every 64 KiB.
	window = 4 << 20
	// maxMessage bounds one message of the engine, in bytes.
	maxMessage = 16 << 20
	// atOnce is how many layers are read from the engine at the same time: each
	// takes some 13 MiB of memory, mostly for what is read ahead.
	atOnce = 8
)

// An Engine is the connection to the containerd whose content store holds the
// layers. It is made with the first call, and made again when the engine was
// restarted.
type Engine struct {
	address string
	conn    *grpc.ClientConn
	close   func() error
	// applies are the turns of layers that are applied, and reopens those of layers
	// that a commit reads again. These are others, since an apply may wait for that
	// commit.
	applies, reopens *semaphore.Weighted
	// farewell is how long the engine may take to end an upload whose caller has
	// gone.
	farewell time.Duration
}

// NewEngine returns the connection to the containerd that listens on the unix
// socket at address, an absolute path. It does not look whether there is one.
func NewEngine(address string) (*Engine, error) {
	if !filepath.IsAbs(address) {
		return nil, fmt.Errorf("containerd's socket %q: not an absolute path: %w", address, errdefs.ErrInvalidArgument)
	}
	conn, err := grpc.NewClient("unix://"+address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithInitialWindowSize(window),
		grpc.WithInitialConnWindowSize(4*window),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: redial / 10, Multiplier: 1.6, Jitter: 0.2, MaxDelay: redial},
			MinConnectTimeout: patience,
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)))
	if err != nil {
		return nil, fmt.Errorf("connect to containerd at %s: %w", address, err)
	}
	return &Engine{
		address: address, conn: conn, close: sync.OnceValue(conn.Close),
		applies: semaphore.NewWeighted(atOnce), reopens: semaphore.NewWeighted(atOnce),
		farewell: farewell,
	}, nil
}

// Close ends the connection and the calls on it. Idempotent.
func (e *Engine) Close() error { return e.close() }

// outgoing gives the context of a call on us what the engine needs for calls
// back on it: the namespace, and the lease when there is one. It waits for an
// engine that is being restarted.
func (e *Engine) outgoing(ctx context.Context) (context.Context, error) {
	namespace, ok := namespaces.Namespace(ctx)
	if !ok {
		return nil, fmt.Errorf("the call names no containerd namespace: %w", errdefs.ErrFailedPrecondition)
	}
	ctx = namespaces.WithNamespace(ctx, namespace)
	if lease, ok := leases.FromContext(ctx); ok {
		ctx = leases.WithLease(ctx, lease)
	}
	return ctx, e.ready(ctx)
}

// ready waits until the engine is connected, at most for its patience.
func (e *Engine) ready(ctx context.Context) error {
	wait, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		state := e.conn.GetState()
		switch state {
		case connectivity.Ready:
			return nil
		case connectivity.Shutdown:
			return fmt.Errorf("the connection to containerd is closed: %w", errdefs.ErrUnavailable)
		case connectivity.Idle:
			e.conn.Connect()
		case connectivity.Connecting, connectivity.TransientFailure: // it tries again by itself
		}
		if e.conn.WaitForStateChange(wait, state) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		return fmt.Errorf("containerd does not answer at %s: %w", e.address, errdefs.ErrUnavailable)
	}
}

func (e *Engine) content() contentapi.ContentClient { return contentapi.NewContentClient(e.conn) }

func (e *Engine) leases() leasesapi.LeasesClient { return leasesapi.NewLeasesClient(e.conn) }
