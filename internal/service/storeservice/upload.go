package storeservice

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/containerd/errdefs"
)

// An upload reads what a client sends. It does not wait for a client that sends
// nothing once its context has ended.
type upload struct {
	ctx    context.Context //nolint:containedctx // lives as long as the call
	chunks chan chunk
	rest   []byte
	err    error
}

type chunk struct {
	data []byte
	err  error
}

// newUpload reads the data of messages until an error, and io.EOF for the end.
// The goroutine ends with the stream, at the latest when its handler returns.
func newUpload(ctx context.Context, first []byte, recv func() ([]byte, error)) *upload {
	u := &upload{ctx: ctx, chunks: make(chan chunk), rest: first}
	go func() {
		for {
			data, err := recv()
			select {
			case u.chunks <- chunk{data, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	return u
}

// Read implements io.Reader.
func (u *upload) Read(p []byte) (int, error) {
	for len(u.rest) == 0 && u.err == nil {
		select {
		case c := <-u.chunks:
			u.rest, u.err = c.data, c.err
		case <-u.ctx.Done():
			u.err = u.ctx.Err()
		}
	}
	if len(u.rest) == 0 {
		if errors.Is(u.err, io.EOF) {
			return 0, io.EOF
		}
		return 0, u.err
	}
	n := copy(p, u.rest)
	u.rest = u.rest[n:]
	return n, nil
}

// begun explains the error of a stream's first message: without that there is
// nothing to do.
func begun(err error) error {
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: the call ended before it said what to do", errdefs.ErrInvalidArgument)
	}
	return err
}

// A download sends what is written to a client, in portions.
type download struct {
	send func([]byte) error
	buf  []byte
}

// Write implements io.Writer.
func (d *download) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		if d.buf == nil {
			d.buf = make([]byte, 0, chunkBytes)
		}
		take := min(cap(d.buf)-len(d.buf), len(p))
		d.buf, p = append(d.buf, p[:take]...), p[take:]
		if len(d.buf) == cap(d.buf) {
			if err := d.flush(); err != nil {
				return 0, err
			}
		}
	}
	return n, nil
}

// flush sends what is left. gRPC has made its own copy when send returns.
func (d *download) flush() error {
	if len(d.buf) == 0 {
		return nil
	}
	err := d.send(d.buf)
	d.buf = d.buf[:0]
	return err
}
