package storeservice

import (
	"context"
	"sync"

	"google.golang.org/grpc/metadata"

	storev1 "github.com/layerkeep/layerkeep/api/store/v1"
)

// CallHeader names a call for Cancel.
const CallHeader = "layerkeep-call"

// maxCallName bounds what a client may call its calls, in bytes.
const maxCallName = 128

// calls are those in flight that have a name.
type calls struct {
	mu     sync.Mutex
	cancel map[string]context.CancelFunc
}

// begin returns the context of a call that Cancel ends, if the client has named
// it. A name that is taken names the call that has it.
func (c *calls) begin(ctx context.Context) (context.Context, func()) {
	names := metadata.ValueFromIncomingContext(ctx, CallHeader)
	if len(names) != 1 || names[0] == "" || len(names[0]) > maxCallName {
		return ctx, func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cancel == nil {
		c.cancel = map[string]context.CancelFunc{}
	}
	if c.cancel[names[0]] != nil {
		return ctx, cancel
	}
	c.cancel[names[0]] = cancel
	return ctx, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.cancel, names[0])
		cancel()
	}
}

// Cancel implements the call of that name. One that is over, or has not begun,
// is no error.
func (s *Service) Cancel(_ context.Context, req *storev1.CancelRequest) (*storev1.CancelResponse, error) {
	s.calls.mu.Lock()
	defer s.calls.mu.Unlock()
	if cancel := s.calls.cancel[req.GetCall()]; cancel != nil {
		cancel()
	}
	return &storev1.CancelResponse{}, nil
}
