package tar

import (
	"context"
	_ "crypto/sha256" // for digest.SHA256
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"sync"
	"sync/atomic"

	"github.com/opencontainers/go-digest"

	"github.com/layerkeep/layerkeep/diff"
)

const (
	blockSize  = 256 << 10
	blockCount = 8
)

// A stream inflates and hashes a layer in parallel to its reader. One goroutine
// reads and inflates into blocks, another one hashes the blocks, and Read
// returns their bytes. The blocks are reused, so the memory is bounded.
type stream struct {
	ctx    context.Context
	limits Limits

	free, parse, sum chan *block
	stop             chan struct{} // closed to end the reading goroutine
	stopOnce         sync.Once
	done             chan struct{} // closed once no goroutine reads the layer any more
	hash             hash.Hash
	hashed           chan struct{}

	cur   *block
	off   int
	total int64 // bytes that Read has returned
}

type block struct {
	buf  []byte
	n    int
	err  error // the error after the n bytes; io.EOF at the end
	refs atomic.Int32
}

func newStream(ctx context.Context, layer io.Reader, algorithm digest.Algorithm, limits Limits) *stream {
	s := &stream{
		ctx: ctx, limits: limits, hash: algorithm.Hash(),
		free: make(chan *block, blockCount), parse: make(chan *block, blockCount), sum: make(chan *block, blockCount),
		stop: make(chan struct{}), hashed: make(chan struct{}), done: make(chan struct{}),
	}
	for range blockCount {
		s.free <- &block{}
	}
	go s.read(layer)
	go s.digest()
	return s
}

// input counts the bytes of the layer before they are inflated. It keeps the
// error of the reader, so that a failing reader is not mistaken for a bad
// layer. The fields are atomic because a zstd decoder reads from a goroutine of
// its own.
type input struct {
	r   io.Reader
	n   atomic.Int64
	err atomic.Pointer[error]
}

func (in *input) Read(p []byte) (int, error) {
	n, err := in.r.Read(p)
	in.n.Add(int64(n))
	if err != nil && !errors.Is(err, io.EOF) {
		in.err.Store(&err)
	}
	return n, err
}

func (s *stream) read(layer io.Reader) {
	defer close(s.done)
	defer close(s.sum)
	in := &input{r: layer}
	rc, _, err := NewDecompressor(in)
	if err == nil {
		defer rc.Close()
	}
	for total := int64(0); ; {
		b := s.nextFree()
		if b == nil {
			return
		}
		if b.buf == nil {
			b.buf = blocks.get()
		}
		b.n = 0
		for err == nil && b.n < len(b.buf) {
			var n int
			n, err = rc.Read(b.buf[b.n:])
			b.n += n
		}
		total += int64(b.n)
		if err == nil || err == io.EOF { //nolint:errorlint // readers return the bare io.EOF
			err = s.check(total, in.n.Load(), err)
		} else {
			err = in.explain(err)
		}
		b.err = err
		b.refs.Store(2)
		s.sum <- b // never blocks: the channel has room for all blocks
		s.parse <- b
		if err != nil {
			return
		}
	}
}

// nextFree waits for a free block. It returns nil if the stream was closed.
func (s *stream) nextFree() *block {
	select {
	case <-s.stop:
		return nil
	default:
	}
	select {
	case b := <-s.free:
		return b
	case <-s.stop:
		return nil
	}
}

// check enforces the limits on the whole stream.
func (s *stream) check(total, compressed int64, err error) error {
	if total > s.limits.Bytes {
		return invalid("more than %d bytes", s.limits.Bytes)
	}
	if total > ratioFloor && total/s.limits.Ratio > compressed {
		return invalid("inflates to more than %d times its size", s.limits.Ratio)
	}
	return err
}

// explain tells an error of the reader from a corrupt stream.
func (in *input) explain(err error) error {
	if own := in.err.Load(); own != nil {
		return fmt.Errorf("read layer: %w", *own)
	}
	if errors.Is(err, diff.ErrInvalidLayer) {
		return err
	}
	return invalid("%w", unexpected(err))
}

func (s *stream) digest() {
	defer close(s.hashed)
	for b := range s.sum {
		s.hash.Write(b.buf[:b.n])
		s.recycle(b)
	}
}

func (s *stream) recycle(b *block) {
	if b.refs.Add(-1) == 0 {
		s.free <- b
	}
}

// Read implements io.Reader. Its errors are already explained, or a bare
// io.EOF.
func (s *stream) Read(p []byte) (int, error) {
	for {
		if s.cur == nil {
			select {
			case s.cur = <-s.parse:
			case <-s.ctx.Done():
				return 0, s.ctx.Err()
			}
			s.off = 0
		}
		b := s.cur
		if s.off < b.n {
			n := copy(p, b.buf[s.off:b.n])
			s.off += n
			s.total += int64(n)
			return n, nil
		}
		if b.err != nil {
			return 0, b.err // the next call returns it again, since the last block stays current
		}
		s.cur = nil
		s.recycle(b)
	}
}

// sumAfterEOF returns the digest once Read has returned io.EOF.
func (s *stream) sumAfterEOF(algorithm digest.Algorithm) digest.Digest {
	<-s.hashed
	return digest.NewDigest(algorithm, s.hash)
}

// close ends the goroutines. It returns when no goroutine reads the layer any
// more, or when the context has ended, because a blocked Read cannot be
// interrupted.
func (s *stream) close() {
	s.stopOnce.Do(func() { close(s.stop) })
	select {
	case <-s.done:
	case <-s.ctx.Done():
		return
	}
	<-s.hashed
	s.giveBack()
}

// giveBack returns the blocks to the pool. By then no goroutine reads or
// hashes.
func (s *stream) giveBack() {
	if s.cur != nil {
		blocks.put(s.cur.buf)
		s.cur = &block{err: fs.ErrClosed}
	}
	for {
		select {
		case b := <-s.free:
			blocks.put(b.buf)
		case b := <-s.parse:
			blocks.put(b.buf)
		default:
			return
		}
	}
}
