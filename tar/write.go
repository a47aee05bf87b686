package tar

import (
	stdtar "archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"
	"time"

	"github.com/layerkeep/layerkeep/diff"
)

// WriteOptions tune [Write].
type WriteOptions struct {
	// MaxTime, when not zero, is the latest mtime written; later ones are
	// replaced by it, as https://reproducible-builds.org/specs/source-date-epoch/ asks for.
	MaxTime time.Time
	// Warn is told of what a layer cannot hold. May be nil.
	Warn func(path, message string)
}

// Write writes changes, in the order of [diff.Compare], as an uncompressed layer
// tar to w, and counts them. The same changes give the same bytes:
//
//   - ustar headers, with PAX records only for what ustar cannot hold, in the
//     order of their keys; no user and group names, no atime and ctime, no
//     sparse files;
//   - a deleted path is an empty file .wh.NAME with mode, owner and mtime 0,
//     never an opaque mark;
//   - directories end in a slash, the root is "./";
//   - extended attributes are SCHILY.xattr records.
//
// A path of more than MaxPath bytes is an error that matches [diff.ErrNotCarried], and so
// are a path, a link target and extended attributes of more than 1 MiB together: no reader
// takes them.
//
// A file whose length is not what its attributes say, as one that is written to
// meanwhile, is an error, and so is an error in changes. On an error w has
// received an incomplete stream; the Stats say what was written so far.
func Write(ctx context.Context, w io.Writer, changes iter.Seq2[diff.Change, error], opts WriteOptions) (diff.Stats, error) {
	lw := newLayerWriter(ctx, w, opts)
	defer lw.release()
	return lw.write(ctx, changes)
}

// Check returns the error with which Write would refuse a change, without writing any or
// reading the body of a file: one matching [diff.ErrNotCarried] for a file that no layer
// can hold.
func Check(ctx context.Context, changes iter.Seq2[diff.Change, error]) error {
	lw := newLayerWriter(ctx, io.Discard, WriteOptions{})
	defer lw.release()
	lw.checking = true
	_, err := lw.write(ctx, changes)
	return err
}

func (lw *layerWriter) write(ctx context.Context, changes iter.Seq2[diff.Change, error]) (diff.Stats, error) {
	for change, err := range changes {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return lw.stats(), err
		}
		if err := lw.change(&change); err != nil {
			return lw.stats(), fmt.Errorf("write %s to the layer: %w", shortPath(change.Path), err)
		}
	}
	err := lw.finish()
	return lw.stats(), err
}

// layerWriter is one run of Write.
type layerWriter struct {
	ctx     context.Context //nolint:containedctx // lives as long as the call
	opts    WriteOptions
	counter *countingWriter
	out     *bufio.Writer
	fix     *headerFix
	tar     *stdtar.Writer
	buf     []byte
	header  stdtar.Header
	count   diff.Stats
	// checking writes nothing.
	checking bool
}

const streamBuffer = 64 << 10

var streamBuffers = sync.Pool{New: func() any { return bufio.NewWriterSize(nil, streamBuffer) }}

func newLayerWriter(ctx context.Context, w io.Writer, opts WriteOptions) *layerWriter {
	counter := &countingWriter{w: w}
	out := streamBuffers.Get().(*bufio.Writer)
	out.Reset(counter)
	fix := &headerFix{w: out}
	return &layerWriter{
		ctx: ctx, opts: opts, counter: counter, out: out,
		fix: fix, tar: stdtar.NewWriter(fix), buf: blocks.get(),
	}
}

func (lw *layerWriter) release() {
	lw.out.Reset(nil)
	streamBuffers.Put(lw.out)
	blocks.put(lw.buf)
}

func (lw *layerWriter) stats() diff.Stats {
	lw.count.Bytes = lw.counter.n
	return lw.count
}

func (lw *layerWriter) finish() error {
	if err := lw.tar.Close(); err != nil {
		return err
	}
	return lw.out.Flush()
}

// change writes one change.
func (lw *layerWriter) change(c *diff.Change) error {
	if err := checkPath(c.Path); err != nil {
		return err
	}
	if err := lw.fill(c); err != nil {
		return err
	}
	if err := checkSize(&lw.header); err != nil {
		return err
	}
	if lw.checking {
		return nil // writing into nothing takes most of the time
	}
	if err := lw.writeHeader(); err != nil {
		return err
	}
	if lw.header.Size > 0 {
		if err := lw.body(c); err != nil {
			return err
		}
	}
	switch c.Kind {
	case diff.Add:
		lw.count.Added++
	case diff.Modify:
		lw.count.Modified++
	case diff.Delete:
		lw.count.Deleted++
	}
	return nil
}

var (
	errGrew   = errors.New("file grew while being read")
	errShrank = errors.New("file shrank while being read")
)

// body copies a file's body of exactly the announced size.
func (lw *layerWriter) body(c *diff.Change) (err error) {
	body, err := c.Open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	buf := lw.buf
	holes := holesOf(body, lw.header.Size)
	for left := lw.header.Size; left > 0; {
		if err := lw.ctx.Err(); err != nil {
			return err
		}
		skipped, data, err := holes.skip(lw.header.Size - left)
		if err == nil && skipped > 0 {
			err = lw.zeros(skipped)
		}
		if err != nil {
			return err
		}
		left -= skipped
		// One byte more than is left shows a file that grew, without one more call.
		n, err := body.Read(buf[:min(left+1, data, int64(len(buf)))])
		if int64(n) > left {
			return errGrew
		}
		if _, err := lw.tar.Write(buf[:n]); err != nil {
			return err
		}
		left -= int64(n)
		switch {
		case errors.Is(err, io.EOF) && left > 0:
			return errShrank
		case err != nil && !errors.Is(err, io.EOF):
			return err
		}
	}
	return nil
}

type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
