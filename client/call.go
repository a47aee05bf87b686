package client

import (
	"context"
	"crypto/rand"
	"time"

	"google.golang.org/grpc/metadata"

	storev1 "github.com/layerkeep/layerkeep/api/store/v1"
)

const (
	callHeader = "layerkeep-call"
	// givingUp is how long a service may take to undo what it was told to give up.
	givingUp = 30 * time.Second
	// cancelEvery is how often it is told: it may not have met the call yet.
	cancelEvery = 50 * time.Millisecond
)

// A call is one that can be given up, and whose answer is waited for.
type call struct {
	// ctx is for the call. It ends when the service does not answer.
	ctx context.Context //nolint:containedctx // lives as long as the call
	// giveUp tells the service that nobody wants it any more, and returns at once.
	giveUp func()
	end    func()
}

// begin returns a call that is given up when ctx ends. The caller ends it.
func (c *Client) begin(ctx context.Context) *call {
	name := rand.Text()
	inner, cancel := context.WithCancel(metadata.AppendToOutgoingContext(context.WithoutCancel(ctx), callHeader, name))
	unwanted, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, giveUp)
	context.AfterFunc(unwanted, func() { c.abandon(inner, cancel, name) })
	return &call{ctx: inner, giveUp: giveUp, end: func() {
		stop()
		cancel()
		giveUp() // finds inner ended, and does nothing
	}}
}

// abandon tells the service to cancel a call until that has ended, and ends it
// after a while.
func (c *Client) abandon(inner context.Context, cancel context.CancelFunc, name string) {
	limit := time.NewTimer(givingUp)
	defer limit.Stop()
	again := time.NewTicker(cancelEvery)
	defer again.Stop()
	for inner.Err() == nil {
		ctx, done := context.WithTimeout(context.WithoutCancel(inner), givingUp)
		_, err := c.store.Cancel(ctx, &storev1.CancelRequest{Call: name})
		done()
		if err != nil { // nobody is there to be told
			cancel()
			return
		}
		select {
		case <-inner.Done():
		case <-again.C:
		case <-limit.C:
			cancel()
		}
	}
}

// change carries out a call that changes something.
func (c *Client) change(ctx context.Context, fn func(context.Context) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	call := c.begin(ctx)
	defer call.end()
	return fn(call.ctx) //nolint:contextcheck // ended by way of the service, see call
}
