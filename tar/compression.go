package tar

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/layerkeep/layerkeep/diff"
)

// Compression is the way in which a layer tar is compressed.
type Compression uint8

// The compressions that [NewDecompressor] reads. [Compress] does not write XZ
// and Bzip2.
const (
	None Compression = iota
	Gzip
	Zstd
	XZ
	Bzip2
)

// String returns "none", "gzip", "zstd", "xz" or "bzip2".
func (c Compression) String() string {
	switch c {
	case None:
		return "none"
	case Gzip:
		return "gzip"
	case Zstd:
		return "zstd"
	case XZ:
		return "xz"
	case Bzip2:
		return "bzip2"
	default:
		return "unknown"
	}
}

// maxWindow limits the memory that a zstd frame can ask for, in bytes. It is
// the largest window that the zstd command accepts by default (zstd(1),
// --long).
const maxWindow = 128 << 20

// NewDecompressor finds the compression of r by its first bytes and returns the
// uncompressed stream. Closing it does not close r.
//
// Several gzip members, and several zstd frames including skippable ones, are
// one stream. NUL bytes may follow the last gzip member, as bsdtar writes them
// to a pipe; gzip(1) ignores them too. Empty input is an empty uncompressed
// stream.
//
// The error matches [diff.ErrInvalidLayer] for a bad header, and for a header
// that asks for more than 128 MiB (zstd) or 64 MiB (xz) of memory.
func NewDecompressor(r io.Reader) (rc io.ReadCloser, c Compression, err error) {
	br := inputBuffers.Get().(*bufio.Reader)
	br.Reset(r)
	head, err := br.Peek(DetectBytes)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, None, err
	}
	c = DetectCompression(head)
	var z io.Reader
	switch c {
	case Gzip:
		var members *gzip.Reader
		members, err = gzip.NewReader(br)
		z = &gzipMembers{z: members, from: br}
	case Zstd:
		dec, err := zstd.NewReader(br, zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, c, fmt.Errorf("%w: %w", diff.ErrInvalidLayer, unexpected(err))
		}
		return dec.IOReadCloser(), c, nil
	case XZ:
		z, err = newXZReader(br)
	case Bzip2:
		z, err = bzip2.NewReader(br), nil
	default:
		z, err = br, nil
	}
	if err != nil {
		return nil, c, fmt.Errorf("%w: %w", diff.ErrInvalidLayer, unexpected(err))
	}
	return &decompressor{Reader: z, input: br}, c, nil
}

// gzipMembers reads all members of a gzip stream, and the padding after the
// last one.
type gzipMembers struct {
	z     *gzip.Reader
	from  *bufio.Reader
	ended bool
}

// maxPadding is the largest number of NUL bytes after a gzip stream. Programs
// that pad fill a block, usually of 10 KiB.
const maxPadding = 1 << 20

func (g *gzipMembers) Read(p []byte) (int, error) {
	for !g.ended {
		g.z.Multistream(false) // the last reset has switched it on
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

// next starts the next gzip member, if there is one.
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
		case padding > 0: // data after NUL bytes is not padding
			return gzip.ErrHeader
		}
		if err := g.from.UnreadByte(); err != nil {
			return err
		}
		return unexpected(g.z.Reset(g.from))
	}
}

var inputBuffers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, 64<<10) }}

// A decompressor returns the buffer of its input to the pool when it is closed.
// It can do that because it has no goroutine that still reads; the zstd decoder
// has one, so it is not wrapped.
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

// DetectBytes is the number of bytes at the start of a stream that
// [DetectCompression] needs.
const DetectBytes = 10

// DetectCompression returns the compression of a stream that starts with head.
// It returns None when head shows none, and when a head of fewer than
// [DetectBytes] bytes is too short to show it.
func DetectCompression(head []byte) Compression {
	has := func(magic string) bool { return bytes.HasPrefix(head, []byte(magic)) }
	switch {
	case has("\x1f\x8b"):
		return Gzip
	case has("\x28\xb5\x2f\xfd"), isSkippable(head):
		return Zstd
	case has("\xfd7zXZ\x00"):
		return XZ
	case has("BZh") && bytes.Contains(head, []byte("1AY&SY")):
		return Bzip2
	default:
		return None
	}
}

// isSkippable reports whether a stream starts with a skippable zstd frame. Such
// frames may come first (RFC 8878, section 3.1.2).
func isSkippable(head []byte) bool {
	return len(head) >= 4 && head[0]&0xf0 == 0x50 && bytes.Equal(head[1:4], []byte("\x2a\x4d\x18"))
}

// unexpected turns io.EOF into io.ErrUnexpectedEOF, for input that ends too
// early.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Compress returns a writer that compresses to w. The same bytes always give
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
		return nil, fmt.Errorf("compress: %s is not written", c)
	}
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }
