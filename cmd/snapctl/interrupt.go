package main

import (
	"context"
	"errors"
	"io"
	"os"
)

// contextWriter ends a stream when its context ends.
type contextWriter struct {
	ctx context.Context
	w   io.Writer
}

func (c contextWriter) Write(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.w.Write(p)
}

// contextReader ends a stream when its context ends.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// interruptible returns a reader of r, a pipe perhaps to which nobody writes,
// that does not wait any longer once ctx has ended. A regular file, which can
// be read at random, is returned as it is.
func interruptible(ctx context.Context, r io.Reader) io.Reader {
	if f, ok := r.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			return r
		}
	}
	out, in := io.Pipe()
	context.AfterFunc(ctx, func() { _ = in.CloseWithError(ctx.Err()) }) // always nil
	go func() {
		_, err := io.Copy(in, r)
		_ = in.CloseWithError(err) // always nil
	}()
	return out
}

// writeInterruptibly lets write write to w, a pipe perhaps from which nobody
// reads, and does not wait for w any longer once ctx has ended.
func writeInterruptibly(ctx context.Context, w io.Writer, write func(io.Writer) error) error {
	out, in := io.Pipe()
	stop := context.AfterFunc(ctx, func() { _ = out.CloseWithError(ctx.Err()) }) // always nil
	defer stop()
	copied := make(chan error, 1)
	go func() {
		_, err := io.Copy(w, out)
		_ = out.CloseWithError(err) // always nil
		copied <- err
	}()
	err := write(in)
	_ = in.CloseWithError(err) // always nil
	select {
	case copyErr := <-copied:
		if err != nil {
			return err // of w, too: then write could write no more
		}
		return copyErr
	case <-ctx.Done():
		return errors.Join(err, ctx.Err())
	}
}
