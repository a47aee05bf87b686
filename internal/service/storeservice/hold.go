package storeservice

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/containerd/errdefs"

	storev1 "github.com/layerkeep/layerkeep/api/store/v1"
)

// What one client may hold.
const (
	maxHeld     = 100_000
	maxHeldName = 8 << 10 // bytes: a path, escaped
)

// holds are the names that clients keep from each other. A client takes all
// that it wants at once or waits holding nothing, so no two wait for each
// other.
type holds struct {
	mu     sync.Mutex
	taken  map[string]bool
	change chan struct{} // closed when something is let go
}

// take waits until all names are free, and takes them.
func (h *holds) take(ctx context.Context, names []string) error {
	for {
		wait := h.try(names)
		if wait == nil {
			return nil
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// try takes the names, or returns what tells that it is worth another try.
func (h *holds) try(names []string) <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.taken == nil {
		h.taken, h.change = map[string]bool{}, make(chan struct{})
	}
	for _, n := range names {
		if h.taken[n] {
			return h.change
		}
	}
	for _, n := range names {
		h.taken[n] = true
	}
	return nil
}

func (h *holds) drop(names []string) {
	if len(names) == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, n := range names {
		delete(h.taken, n)
	}
	close(h.change)
	h.change = make(chan struct{})
}

// Hold implements the call of that name.
func (s *Service) Hold(stream storev1.Store_HoldServer) error {
	var held []string
	defer func() { s.holds.drop(held) }()
	for {
		req, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		wanted, err := unique(req.GetNames())
		if err != nil {
			return err
		}
		if held, err = s.holdNow(stream.Context(), held, wanted); err != nil {
			return err
		}
		if err := stream.Send(&storev1.HoldResponse{}); err != nil {
			return err
		}
	}
}

// holdNow changes what a client holds, and returns what that is then.
func (s *Service) holdNow(ctx context.Context, held, wanted []string) ([]string, error) {
	if len(held) == 0 {
		if err := s.holds.take(ctx, wanted); err != nil {
			return nil, err
		}
		return wanted, nil
	}
	keep := map[string]bool{}
	for _, n := range wanted {
		keep[n] = true
	}
	var stay, leave []string
	for _, n := range held {
		if keep[n] {
			stay = append(stay, n)
		} else {
			leave = append(leave, n)
		}
	}
	if len(stay) != len(wanted) {
		return held, fmt.Errorf("%w: who holds names can only let some of them go, or all and then take others", errdefs.ErrFailedPrecondition)
	}
	s.holds.drop(leave)
	return stay, nil
}

// unique checks names, and leaves out those that come again.
func unique(names []string) ([]string, error) {
	if len(names) > maxHeld {
		return nil, fmt.Errorf("%w: %d names to hold, at most %d", errdefs.ErrInvalidArgument, len(names), maxHeld)
	}
	seen := map[string]bool{}
	var out []string
	for _, n := range names {
		if len(n) > maxHeldName {
			return nil, fmt.Errorf("%w: a name of %d bytes, at most %d", errdefs.ErrInvalidArgument, len(n), maxHeldName)
		}
		if !seen[n] {
			out = append(out, n)
		}
		seen[n] = true
	}
	return out, nil
}
