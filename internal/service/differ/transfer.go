package differ

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	"github.com/containerd/containerd/v2/core/content"
	contentproxy "github.com/containerd/containerd/v2/core/content/proxy"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc"
)

const (
	// farewell is how long the engine may take to end an upload whose caller has
	// gone.
	farewell = 5 * time.Second
	// abortPatience is how long the removal of a failed upload may take.
	abortPatience = 10 * time.Second
	// abortPause is the time between two attempts to remove a failed upload.
	abortPause = 50 * time.Millisecond
)

// A transfer is the stream on which one upload goes to the engine's content
// store. It lives longer than the call it is made for: cancelling a stream
// tells the engine to stop, but nobody learns when it has. The engine may
// create the upload, or write to it, after a request to remove it, and what it
// writes then stays. So the stream of a call whose caller has gone is closed in
// good order: the engine's answer says that it is done with the upload.
type transfer struct {
	store    content.Store
	ref      string
	patience time.Duration
	ctx      context.Context //nolint:containedctx // the stream's
	cancel   context.CancelFunc
	stream   contentapi.Content_WriteClient // nil until the engine was called
	writer   content.Writer
}

// startTransfer opens an upload. An empty ref stands for a name of its own.
func (e *Engine) startTransfer(ctx context.Context, ref, mediaType string) (*transfer, error) {
	own := ref == ""
	if own {
		ref = uniqueName()
	}
	t := &transfer{ref: ref, patience: e.farewell}
	t.store = contentproxy.NewContentStore(&recordingClient{ContentClient: e.content(), t: t})
	t.ctx, t.cancel = outliving(ctx, t.patience)
	var err error
	t.writer, err = t.store.Writer(t.ctx, content.WithRef(ref),
		content.WithDescriptor(ocispec.Descriptor{MediaType: mediaType}))
	if err == nil {
		return t, nil
	}
	err = fmt.Errorf("write under %q to containerd's store: %w", ref, err)
	if gone := ctx.Err(); gone != nil {
		err = fmt.Errorf("%w: %w", err, gone)
	}
	if own {
		return nil, t.discard(err)
	}
	// Another call may be writing under this name.
	t.close()
	return nil, err
}

// recordingClient remembers the stream of an upload, which the writer hides.
type recordingClient struct {
	contentapi.ContentClient
	t *transfer
}

func (c *recordingClient) Write(ctx context.Context, opts ...grpc.CallOption) (contentapi.Content_WriteClient, error) {
	stream, err := c.ContentClient.Write(ctx, opts...)
	if err != nil {
		return nil, err
	}
	c.t.stream = tellingStream{stream}
	return c.t.stream, nil
}

// tellingStream says why a request cannot be sent. gRPC answers io.EOF when the
// engine has ended the stream, and gives the engine's reason, a full disk for
// instance, to who receives.
type tellingStream struct {
	contentapi.Content_WriteClient
}

func (s tellingStream) Send(req *contentapi.WriteContentRequest) error {
	err := s.Content_WriteClient.Send(req)
	if !errors.Is(err, io.EOF) {
		return err
	}
	for {
		if _, why := s.Recv(); why != nil && !errors.Is(why, io.EOF) {
			return why
		} else if why != nil {
			return err
		}
	}
}

// close ends the stream and returns when the engine has done with it, or has
// not said so in time. Nothing may be sending on the stream any more.
func (t *transfer) close() {
	defer t.cancel()
	if t.stream == nil {
		return
	}
	timer := time.AfterFunc(t.patience, t.cancel)
	defer timer.Stop()
	if t.stream.CloseSend() != nil {
		return // the stream has ended
	}
	for {
		if _, err := t.stream.Recv(); err != nil {
			return // io.EOF, or why the upload has failed, which is known
		}
	}
}

// discard ends the stream and removes the upload, also after the caller has
// gone. It returns err with what went wrong in addition.
func (t *transfer) discard(err error) error {
	t.close()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.ctx), abortPatience)
	defer cancel()
	if e := t.abort(ctx); e != nil {
		return fmt.Errorf("%w; remove the failed upload %q: %w", err, t.ref, e)
	}
	return err
}

// abort removes the upload. An engine that did not end the stream in time may
// still write to it, which makes a removal fail, so this tries more than once.
func (t *transfer) abort(ctx context.Context) error {
	for {
		err := t.store.Abort(ctx, t.ref)
		if err == nil || errdefs.IsNotFound(err) {
			return nil
		}
		if errdefs.IsNotImplemented(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(abortPause):
		}
	}
}

// outliving returns a context with the values of ctx that ends some time after
// ctx does, or when cancel is called.
func outliving(ctx context.Context, by time.Duration) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-time.After(by):
			cancel()
		case <-longer.Done():
		}
	})
	return longer, func() {
		stop()
		cancel()
	}
}
