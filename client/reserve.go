package client

import (
	"context"
	"fmt"
	"time"

	"github.com/containerd/errdefs"

	"github.com/layerkeep/layerkeep"
	storev1 "github.com/layerkeep/layerkeep/api/store/v1"
)

// reservation is a [layerkeep.Reservation] as long as its stream is open.
type reservation struct {
	stream storev1.Store_HoldClient
	cancel context.CancelFunc
}

// Reserve implements [layerkeep.Store]. It keeps away only other callers of
// Reserve: nothing else of the store is locked.
func (c *Client) Reserve(ctx context.Context, patience time.Duration, names ...string) (layerkeep.Reservation, error) {
	ctx, cancel := context.WithCancel(ctx)
	stream, err := c.store.Hold(ctx)
	if err != nil {
		cancel()
		return nil, err
	}
	h := &reservation{stream: stream, cancel: cancel}
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

func (h *reservation) ask(names []string) error {
	err := h.stream.Send(&storev1.HoldRequest{Names: names})
	if _, recvErr := h.stream.Recv(); recvErr != nil {
		return recvErr // it says why nothing could be sent
	}
	return err
}

// ReleaseOthers releases all names but these. The names must be reserved.
func (h *reservation) ReleaseOthers(names ...string) error { return h.ask(names) }

// Release releases all names. When it returns, the service knows.
func (h *reservation) Release() {
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
