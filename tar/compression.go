package tar

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/layerkeep/layerkeep/diff"
)

// Compression is how a layer stream is compressed.
type Compression uint8

// The compressions that are read and written.
const (
	None Compression = iota
	Gzip
	Zstd
)

// String returns "none", "gzip" or "zstd".
func (c Compression) String() string {
	switch c {
	case None:
		return "none"
	case Gzip:
		return "gzip"
	case Zstd:
		return "zstd"
	default:
		return "unknown"
	}
}

// maxWindow bounds the memory that a zstd frame can ask for; it is the largest
// window that the zstd command accepts without being told to (zstd(1), --long).
const maxWindow = 128 << 20

// NewDecompressor tells the compression of r by its first bytes and returns the
// uncompressed stream. Several gzip members and zstd frames, skippable ones too,
// are one stream. NUL bytes may follow the last gzip member, as in what bsdtar writes
// to a pipe; gzip(1) ignores them, too. Empty input is an empty uncompressed stream. A known format
// that is not read here gives an error matching [diff.ErrInvalidLayer], and so
// does a bad header. Closing does not close r.
func NewDecompressor(r io.Reader) (rc io.ReadCloser, c Compression, err error) {
	br := inputBuffers.Get().(*bufio.Reader)
	br.Reset(r)
	head, err := br.Peek(10)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, None, err
	}
	switch c, other := detect(head); {
	case other != "":
		return nil, None, fmt.Errorf("%w: %s compression is not supported", diff.ErrInvalidLayer, other)
	case c == Gzip:
		z, err := gzip.NewReader(br)
		if err != nil {
			return nil, c, fmt.Errorf("%w: %w", diff.ErrInvalidLayer, unexpected(err))
		}
		return &decompressor{Reader: &gzipMembers{z: z, from: br}, input: br}, c, nil
	case c == Zstd:
		z, err := zstd.NewReader(br, zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, c, fmt.Errorf("%w: %w", diff.ErrInvalidLayer, unexpected(err))
		}
		return z.IOReadCloser(), c, nil
	default:
		return &decompressor{Reader: br, input: br}, None, nil
	}
}

// gzipMembers reads one gzip member after the other, and the padding behind the last.
type gzipMembers struct {
	z     *gzip.Reader
	from  *bufio.Reader
	ended bool
}

// maxPadding is how many NUL bytes may follow a gzip stream: programs that pad fill up
// a block, of 10 KiB as a rule.
const maxPadding = 1 << 20

func (g *gzipMembers) Read(p []byte) (int, error) {
	for !g.ended {
		g.z.Multistream(false) // which the last reset has switched on
		n, err := g.z.Read(p)
		if !errors.Is(err, io.EOF) {
			return n, err
		}
		if err := g.next(); err != nil || n > 0 {
			return n, err
		}
	}
	return 0, io.EOF
}

// next begins the member that follows the one that has just ended, if there is one.
func (g *gzipMembers) next() error {
	for padding := 0; ; padding++ {
		b, err := g.from.ReadByte()
		switch {
		case errors.Is(err, io.EOF):
			g.ended = true
			return nil
		case err != nil:
			return err
		case b == 0 && padding < maxPadding:
			continue
		case padding > 0: // it is no padding
			return gzip.ErrHeader
		}
		if err := g.from.UnreadByte(); err != nil {
			return err
		}
		return unexpected(g.z.Reset(g.from))
	}
}

var inputBuffers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, 64<<10) }}

// A decompressor gives the buffer of its input back when it is closed: it reads in no
// goroutine of its own, as the one for zstd does.
type decompressor struct {
	io.Reader
	input *bufio.Reader
}

func (d *decompressor) Read(p []byte) (int, error) {
	if d.input == nil {
		return 0, fs.ErrClosed
	}
	return d.Reader.Read(p)
}

func (d *decompressor) Close() error {
	if d.input != nil {
		d.input.Reset(nil)
		inputBuffers.Put(d.input)
		d.input = nil
	}
	return nil
}

// detect returns the compression that the first bytes tell, or the name of one
// that is not read.
func detect(head []byte) (c Compression, other string) {
	has := func(magic string) bool { return bytes.HasPrefix(head, []byte(magic)) }
	switch {
	case has("\x1f\x8b"):
		return Gzip, ""
	case has("\x28\xb5\x2f\xfd"), len(head) >= 4 && head[0]&0xf0 == 0x50 && bytes.Equal(head[1:4], []byte("\x2a\x4d\x18")):
		return Zstd, ""
	case has("\xfd7zXZ\x00"):
		return None, "xz"
	case has("BZh") && bytes.Contains(head, []byte("1AY&SY")):
		return None, "bzip2"
	default:
		return None, ""
	}
}

// unexpected turns an end of input in the middle of something into what it is.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Compress returns a writer that compresses to w; the same bytes always give
// the same compressed bytes. Closing it ends the stream and does not close w.
func Compress(w io.Writer, c Compression) (io.WriteCloser, error) {
	switch c {
	case None:
		return nopCloser{w}, nil
	case Gzip:
		return gzip.NewWriter(w), nil
	case Zstd:
		return zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
	default:
		return nil, fmt.Errorf("compress: unknown compression %d", c)
	}
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }
