package tar

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/ulikunitz/xz"
	"github.com/ulikunitz/xz/lzma"

	"github.com/layerkeep/layerkeep/diff"
)

// Limits on what an xz stream can ask for. A decompressor allocates a
// dictionary for each block, however small the block is.
const (
	// maxDictionary is the largest dictionary, in bytes. "xz -9" uses this size.
	maxDictionary = 64 << 20
	// maxBlocks is the largest number of blocks. By default xz makes blocks of at
	// least 24 MiB, or a single block.
	maxBlocks = 10_000
)

// newXZReader reads the output of xz(1). Only the LZMA2 filter is supported.
func newXZReader(r *bufio.Reader) (io.Reader, error) {
	guard := &xzGuard{from: r}
	guard.next = guard.stream
	return xz.ReaderConfig{DictCap: lzma.MinDictCap}.NewReader(guard)
}

// An xzGuard passes an xz stream to a decompressor, which would allocate as
// much as the headers ask for. It ends the stream with an error if that is too
// much. It follows only the structure (xz-file-format.txt, sections 2 to 4, and
// the chunks of LZMA2). Errors in the content are left to the decompressor.
type xzGuard struct {
	from *bufio.Reader
	// seen has bytes that were examined and must still be passed on. unseen is the
	// number of bytes after them that can be passed on without a look.
	seen   []byte
	unseen int
	// next examines what follows these bytes.
	next func() error
	err  error

	check  int // size in bytes of the checksum after each block
	packed int // size in bytes of the content of the block so far, modulo 4
	blocks int
}

// Read implements io.Reader.
func (g *xzGuard) Read(p []byte) (int, error) {
	for len(p) > 0 {
		switch {
		case len(g.seen) > 0:
			n := copy(p, g.seen)
			g.seen = g.seen[n:]
			return n, nil
		case g.err != nil:
			return 0, g.err
		case g.unseen > 0:
			n, err := g.from.Read(p[:min(len(p), g.unseen)])
			g.unseen -= n
			return n, unexpected(err)
		}
		if g.err = g.next(); errors.Is(g.err, diff.ErrInvalidLayer) {
			g.seen = nil // the decompressor must not see it
		}
	}
	return 0, nil
}

// take reads and examines n bytes.
func (g *xzGuard) take(n int) ([]byte, error) {
	buf := make([]byte, n)
	got, err := io.ReadFull(g.from, buf)
	g.seen = append(g.seen, buf[:got]...)
	return buf[:got], err
}

// takeInside reads n bytes at a place where the stream must not end. Without
// it, the decompressor would take an end of the input between two blocks for
// the end of the stream.
func (g *xzGuard) takeInside(n int) ([]byte, error) {
	buf, err := g.take(n)
	return buf, unexpected(err)
}

// varint reads an integer, and returns its value and its size in bytes.
func (g *xzGuard) varint() (value uint64, size int, err error) {
	for shift := 0; shift < 63; shift += 7 {
		b, err := g.takeInside(1)
		if err != nil {
			return 0, 0, err
		}
		value |= uint64(b[0]&0x7f) << shift
		size++
		if b[0] < 0x80 {
			return value, size, nil
		}
	}
	return 0, 0, badXZ("a number of more than nine bytes")
}

func badXZ(format string, args ...any) error {
	return fmt.Errorf("%w: xz: %s", diff.ErrInvalidLayer, fmt.Sprintf(format, args...))
}

// stream reads the header of a stream, or the padding between streams.
func (g *xzGuard) stream() error {
	head, err := g.take(4)
	if err != nil || binary.LittleEndian.Uint32(head) == 0 {
		return err
	}
	rest, err := g.takeInside(xz.HeaderLen - 4)
	if err != nil {
		return err
	}
	sizes := [16]int{0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64}
	g.check, g.next = sizes[rest[3]&0x0f], g.block
	return nil
}

// block reads the header of a block, or the index after the last block.
func (g *xzGuard) block() error {
	size, err := g.takeInside(1)
	if err != nil {
		return err
	}
	if size[0] == 0 {
		return g.index()
	}
	header, err := g.takeInside((int(size[0])+1)*4 - 1)
	if err != nil {
		return err
	}
	if g.blocks++; g.blocks > maxBlocks {
		return badXZ("more than %d blocks; pack it again, with xz -T1 for instance", maxBlocks)
	}
	g.packed, g.next = 0, g.chunk
	return checkFilters(header)
}

// checkFilters returns an error for a block header that asks for too large a
// dictionary.
func checkFilters(header []byte) error {
	flags, rest := header[0], header[1:]
	number := func() uint64 {
		n, size := binary.Uvarint(rest)
		rest = rest[max(size, 0):]
		return n
	}
	for _, present := range []byte{0x40, 0x80} { // the compressed and the uncompressed size
		if flags&present != 0 {
			number()
		}
	}
	for range flags&3 + 1 {
		id, size := number(), number()
		if size > uint64(len(rest)) {
			return badXZ("a block header that ends in the middle")
		}
		if id == 0x21 && size == 1 {
			if dict, err := lzma.DecodeDictCap(rest[0]); err == nil && dict > maxDictionary {
				return badXZ("a dictionary of %d bytes, at most %d are taken; pack it again, with xz -9 at most", dict, maxDictionary)
			}
		}
		rest = rest[size:]
	}
	return nil
}

// chunk reads the header of an LZMA2 chunk.
func (g *xzGuard) chunk() error {
	control, err := g.takeInside(1)
	if err != nil {
		return err
	}
	size := 0
	switch c := control[0]; {
	case c == 0:
		g.packed++
		g.unseen, g.next = -g.packed&3+g.check, g.block
		return nil
	case c >= 0x80:
		sizes, err := g.takeInside(4)
		if err != nil {
			return err
		}
		size = int(binary.BigEndian.Uint16(sizes[2:])) + 1
		if c >= 0xc0 {
			size++ // new properties
		}
		g.packed += 5
	case c <= 2:
		sizes, err := g.takeInside(2)
		if err != nil {
			return err
		}
		size = int(binary.BigEndian.Uint16(sizes)) + 1
		g.packed += 3
	default:
		return badXZ("a chunk of kind %#x", c)
	}
	g.packed = (g.packed + size) & 3 // the padding depends only on this
	g.unseen = size
	return nil
}

// index reads the index. Its first byte was already read.
func (g *xzGuard) index() error {
	records, size, err := g.varint()
	if err != nil {
		return err
	}
	if records > maxBlocks {
		return badXZ("an index of %d blocks, at most %d are read", records, maxBlocks)
	}
	size++
	for range 2 * records {
		_, n, err := g.varint()
		if err != nil {
			return err
		}
		size += n
	}
	const crc, footer = 4, 12
	g.unseen, g.next = -size&3+crc+footer, g.stream
	return nil
}
