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
	// MaxTime, when not zero, is the latest mtime that Write writes. It
	// replaces later times, as
	// https://reproducible-builds.org/specs/source-date-epoch/ asks for.
	MaxTime time.Time
	// Warn is called for each file that a layer cannot contain. May be nil.
	Warn func(path, message string)
}

// Write writes changes as an uncompressed layer tar to w, and counts them. The
// changes must be in the order of [diff.Compare]. The same changes give the
// same bytes:
//
//   - Headers are ustar. PAX records exist only for what ustar cannot express,
//     in the order of their keys. There are no user and group names, no atime
//     and ctime, and no sparse files.
//   - A deleted path is an empty file .wh.NAME with mode, owner and mtime 0.
//     Write never writes an opaque mark.
//   - The name of a directory ends in a slash. The root is "./".
//   - Extended attributes are SCHILY.xattr records.
//
// Write returns an error that matches [diff.ErrNotCarried] for a path of more
// than [MaxPath] bytes, and for a path, link target and extended attributes of
// more than 1 MiB together: no reader takes them. It returns an error for a
// file whose length differs from its attributes, for example because a program
// writes to it, and for an error in changes. After an error w has received an
// incomplete stream; the Stats say what was written so far.
func Write(ctx context.Context, w io.Writer, changes iter.Seq2[diff.Change, error], opts WriteOptions) (diff.Stats, error) {
	lw := newLayerWriter(ctx, w, opts)
	defer lw.release()
	return lw.write(ctx, changes)
}

// Check returns the error with which [Write] would refuse a change: one that
// matches [diff.ErrNotCarried] for a file that no layer can contain. It writes
// nothing and reads no content of a file.
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
	// checking is set in Check: no headers and bodies are written.
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
		return nil // the content does not matter, and reading it takes most of the time
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

// body copies the content of a file. The content must have exactly the size
// that the header says.
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
		// Asking for one byte more than the header allows detects a file that grew,
		// without another read call.
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
