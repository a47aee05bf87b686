package tar

import (
	stdtar "archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/layerkeep/layerkeep/diff"
)

// WriteOptions tune [Write].
type WriteOptions struct {
	// MaxTime, when not zero, is the latest mtime written; later ones are
	// replaced by it. See [SourceDateEpoch].
	MaxTime time.Time
	// Warn is told of what a layer cannot hold. May be nil.
	Warn func(path, message string)
}

// SourceDateEpoch returns the time in the environment variable
// SOURCE_DATE_EPOCH, in seconds since 1970, for WriteOptions.MaxTime; the zero
// time when it is not set. See https://reproducible-builds.org/specs/source-date-epoch/.
func SourceDateEpoch() (time.Time, error) {
	const name = "SOURCE_DATE_EPOCH"
	value := os.Getenv(name)
	if value == "" {
		return time.Time{}, nil
	}
	seconds, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("%s is not a number of seconds: %q", name, value)
	}
	return time.Unix(seconds, 0), nil
}

// MaxTime is the WriteOptions.MaxTime for what SOURCE_DATE_EPOCH says to somebody
// else than this process: a time that bounds nothing when it is not set there, so
// that this process' environment does not count in its place.
func MaxTime(epoch time.Time) time.Time {
	if epoch.IsZero() {
		const never = 1 << 55 // seconds
		return time.Unix(never, 0)
	}
	return epoch
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
// A path of more than MaxPath bytes is an error, and so are a path, a link target and
// extended attributes of more than 1 MiB together: no reader takes them.
//
// A file whose length is not what its attributes say, as one that is written to
// meanwhile, is an error, and so is an error in changes. On an error w has
// received an incomplete stream; the Stats say what was written so far.
func Write(ctx context.Context, w io.Writer, changes iter.Seq2[diff.Change, error], opts WriteOptions) (diff.Stats, error) {
	lw := newLayerWriter(ctx, w, opts)
	defer lw.release()
	return lw.write(ctx, changes)
}

// Check returns the error that Write would return, without reading the body of any
// file: one matching [diff.ErrNotCarried] for a file that no layer can hold.
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
	// checking leaves out the bodies.
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
	if lw.checking {
		lw.header.Size = 0
	}
	if err := lw.writeHeader(); err != nil {
		return tooLarge(err, c)
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

// tooLarge explains the error for a header that no reader of the standard library's kind
// takes, which containerd and Docker use, too.
func tooLarge(err error, c *diff.Change) error {
	if !errors.Is(err, stdtar.ErrFieldTooLong) {
		return err
	}
	size := 0
	for name, value := range c.Xattrs {
		size += len(name) + len(value)
	}
	return fmt.Errorf("%w: its %d extended attributes take %d bytes, and the header of an entry holds less than %d: %w",
		diff.ErrNotCarried, len(c.Xattrs), size, 1<<20, err)
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
