package differ

import (
	"context"
	"errors"
	"fmt"
	"io"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/semaphore"

	"github.com/layerkeep/layerkeep/driver"
)

const (
	// readAhead is how many bytes of a blob wait to be unpacked, at most, beside
	// what the transport holds.
	readAhead = 8 << 20
	// queued is how many messages wait, at most: containerd's have 1 MiB, and
	// could be smaller.
	queued = readAhead / (32 << 10)
)

// A blob is the stream of a blob in the engine's content store. It is received
// and verified beside the one who reads it. Where its size or digest is not
// that of the descriptor it ends with an error that matches [driver.ErrDigest]
// instead of io.EOF, so whoever unpacks it cannot finish on wrong content.
type blob struct {
	desc   ocispec.Descriptor
	cancel context.CancelFunc
	chunks chan []byte
	room   *semaphore.Weighted
	done   chan struct{} // closed when the receiver is gone

	chunk []byte // what is left of the one being read
	held  int64  // its share of room
	err   error  // how the stream ended; set before chunks is closed
}

// open begins to read a blob; the caller closes it.
func (e *Engine) open(ctx context.Context, desc ocispec.Descriptor) (*blob, error) {
	if err := desc.Digest.Validate(); err != nil {
		return nil, fmt.Errorf("digest %q of the layer: %w: %w", desc.Digest, err, errdefs.ErrInvalidArgument)
	}
	ctx, err := e.outgoing(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	stream, err := e.content().Read(ctx, &contentapi.ReadContentRequest{Digest: desc.Digest.String()})
	if err != nil {
		cancel()
		return nil, fmt.Errorf("read blob %s from containerd: %w", desc.Digest, errgrpc.ToNative(err))
	}
	b := &blob{
		desc: desc, cancel: cancel, chunks: make(chan []byte, queued),
		room: semaphore.NewWeighted(readAhead), done: make(chan struct{}),
	}
	go b.receive(ctx, stream)
	return b, nil
}

func (b *blob) receive(ctx context.Context, stream contentapi.Content_ReadClient) {
	defer close(b.done)
	defer close(b.chunks)
	hash := b.desc.Digest.Algorithm().Digester()
	var n int64
	for {
		msg, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			b.err = b.check(n, hash.Digest())
			return
		}
		if err != nil {
			b.err = fmt.Errorf("read blob %s from containerd: %w", b.desc.Digest, errgrpc.ToNative(err))
			return
		}
		data := msg.GetData()
		if len(data) == 0 {
			continue
		}
		if n += int64(len(data)); n > b.desc.Size && b.desc.Size > 0 {
			b.err = fmt.Errorf("%w: blob %s is longer than the %d bytes it should have", driver.ErrDigest, b.desc.Digest, b.desc.Size)
			return
		}
		if err := b.room.Acquire(ctx, share(data)); err != nil {
			b.err = err
			return
		}
		select {
		case b.chunks <- data:
		case <-ctx.Done():
			b.err = ctx.Err()
			return
		}
		hash.Hash().Write(data) // while it is being unpacked; never fails
	}
}

// share is what a message counts in what waits; a larger one waits alone.
func share(data []byte) int64 { return min(int64(len(data)), readAhead) }

// check returns io.EOF when all is well. A descriptor may come without a size.
func (b *blob) check(n int64, got digest.Digest) error {
	switch {
	case b.desc.Size > 0 && n != b.desc.Size:
		return fmt.Errorf("%w: blob %s has %d bytes and should have %d", driver.ErrDigest, b.desc.Digest, n, b.desc.Size)
	case got != b.desc.Digest:
		return fmt.Errorf("%w: blob %s is %s in containerd's store", driver.ErrDigest, b.desc.Digest, got)
	}
	return io.EOF
}

// Read implements io.Reader. Errors stay.
func (b *blob) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if len(b.chunk) == 0 {
		chunk, ok := b.next()
		if !ok {
			return 0, b.err
		}
		b.chunk, b.held = chunk, share(chunk)
	}
	n := copy(p, b.chunk)
	b.chunk = b.chunk[n:]
	return n, nil
}

func (b *blob) next() ([]byte, bool) {
	b.room.Release(b.held)
	b.held = 0
	chunk, ok := <-b.chunks
	return chunk, ok
}

// finish reads the blob to its end, when err says nothing of the disk or the
// caller. A blob that is not what its digest says is the reason for whatever
// else is wrong with the layer.
func (b *blob) finish(err error) error {
	if err != nil && !errors.Is(err, driver.ErrInvalidLayer) && !errors.Is(err, driver.ErrDigest) {
		return err
	}
	if _, e := io.Copy(io.Discard, b); err == nil || errors.Is(e, driver.ErrDigest) {
		return e
	}
	return err
}

// Close ends the stream. It returns when nothing of it is left.
func (b *blob) Close() error {
	b.cancel()
	<-b.done
	return nil
}
