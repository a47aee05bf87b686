package client

import (
	"context"
	"fmt"
	"time"

	"github.com/containerd/errdefs"

	storev1 "github.com/layerkeep/layerkeep/api/store/v1"
)

// Held are names that other callers of Hold do not get.
type Held struct {
	stream storev1.Store_HoldClient
	cancel context.CancelFunc
}

// Hold waits, not longer than patience, until nobody else holds one of the names,
// and takes them all. They keep away only those who hold them too; nothing else of
// the store is locked. An error matches errdefs.ErrUnavailable when that took too
// long.
func (c *Client) Hold(ctx context.Context, patience time.Duration, names ...string) (*Held, error) {
	ctx, cancel := context.WithCancel(ctx)
	stream, err := c.store.Hold(ctx)
	if err != nil {
		cancel()
		return nil, err
	}
	h := &Held{stream: stream, cancel: cancel}
	late := time.AfterFunc(patience, cancel)
	err = h.ask(names)
	if !late.Stop() && err != nil {
		err = fmt.Errorf("%w: another command is working on it", errdefs.ErrUnavailable)
	}
	if err != nil {
		h.Release()
		return nil, err
	}
	return h, nil
}

func (h *Held) ask(names []string) error {
	err := h.stream.Send(&storev1.HoldRequest{Names: names})
	if _, recvErr := h.stream.Recv(); recvErr != nil {
		return recvErr // it says why nothing could be sent
	}
	return err
}

// Keep lets all go but these names, which must be held already.
func (h *Held) Keep(names ...string) error { return h.ask(names) }

// Release lets all go, and returns when that is known to the service.
func (h *Held) Release() {
	defer h.cancel()
	if err := h.stream.CloseSend(); err != nil {
		return // then it is gone, and holds nothing
	}
	for {
		if _, err := h.stream.Recv(); err != nil {
			return // io.EOF, or it is gone
		}
	}
}
