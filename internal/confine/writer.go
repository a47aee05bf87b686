package confine

import (
	"context"
	"errors"
	"io"
	"sync"
)

// errGone is the error of a write whose receiver has panicked or ended its goroutine.
var errGone = errors.New("the receiver has gone")

// outsideBuffer is how many bytes are handed over at a time: with each, the kernel has to
// switch between threads.
const outsideBuffer = 512 << 10

var outsideBuffers = sync.Pool{New: func() any { return new([outsideBuffer]byte) }}

// Writer returns a writer that writes to w outside, side by side with the work: an error of
// w is that of a later call. Close waits until all is written, and does not close w.
func Writer(ctx context.Context, w io.Writer) io.WriteCloser {
	if o := of(ctx); o != nil && o.box != nil {
		return &outsideWriter{work: o, w: w}
	}
	return plainWriter{w}
}

type plainWriter struct{ io.Writer }

func (plainWriter) Close() error { return nil }

// An outsideWriter has one buffer that is filled while the other is written.
type outsideWriter struct {
	work   *work
	w      io.Writer
	fill   *[outsideBuffer]byte
	filled int
	spare  *[outsideBuffer]byte
	done   chan struct{} // closed when spare has been written, with err; nil before the first
	err    error
}

func (o *outsideWriter) Write(p []byte) (n int, err error) {
	for n < len(p) {
		if o.fill == nil {
			o.fill = outsideBuffers.Get().(*[outsideBuffer]byte)
		}
		c := copy(o.fill[o.filled:], p[n:])
		n, o.filled = n+c, o.filled+c
		if o.filled == outsideBuffer {
			if err := o.hand(); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

// hand hands the filled buffer over, once the other one has been written.
func (o *outsideWriter) hand() error {
	if err := o.wait(); err != nil {
		return err
	}
	o.fill, o.spare = o.spare, o.fill
	body := o.spare[:o.filled]
	o.filled = 0
	o.done = o.work.post(func() {
		o.err = errGone // if it panics
		n, err := o.w.Write(body)
		if err == nil && n < len(body) {
			err = io.ErrShortWrite
		}
		o.err = err
	})
	if o.done == nil {
		o.err = errGone
	}
	return nil
}

func (o *outsideWriter) wait() error {
	if o.done != nil {
		<-o.done
	}
	return o.err
}

func (o *outsideWriter) Close() error {
	if o.filled > 0 {
		if err := o.hand(); err != nil {
			return err
		}
	}
	err := o.wait()
	for _, b := range []*[outsideBuffer]byte{o.fill, o.spare} {
		if b != nil {
			outsideBuffers.Put(b)
		}
	}
	o.fill, o.spare = nil, nil
	return err
}
