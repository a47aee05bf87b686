package image

import (
	stdtar "archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"github.com/layerkeep/layerkeep/tar"
)

// fillSpool unpacks a stream into a file, if it is an archive.
func fillSpool(ctx context.Context, spool *os.File, r io.Reader, limit int64, p Progress) error {
	// The goroutine may stay in a Read that nothing can interrupt; then its
	// first write after that finds a closed file.
	done := make(chan error, 1)
	go func() {
		plain, err := newPackedReader(r)
		if err != nil {
			done <- err
			return
		}
		archive, err := beginsAsTar(plain)
		if err != nil {
			done <- errors.Join(err, plain.Close())
			return
		}
		n, err := copyContext(ctx, spool, io.LimitReader(&counted{archive, p.Spooled}, limit+1))
		if err == nil && n > limit {
			err = fmt.Errorf("%w: a stream of more than %d bytes", ErrInvalid, limit)
		}
		done <- errors.Join(err, plain.Close())
	}()
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("putting the stream aside: %w", err)
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// A packedReader unpacks a stream, and tells errors of reading it from those of
// what was read.
type packedReader struct {
	in    packedInput
	plain io.ReadCloser
}

// packedInput keeps the error of reading. A decompressor may read in a
// goroutine of its own.
type packedInput struct {
	io.Reader
	err atomic.Pointer[error]
}

func (in *packedInput) Read(p []byte) (int, error) {
	n, err := in.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		in.err.Store(&err)
	}
	return n, err
}

func newPackedReader(r io.Reader) (*packedReader, error) {
	p := &packedReader{in: packedInput{Reader: r}}
	var err error
	p.plain, _, err = tar.NewDecompressor(&p.in)
	return p, p.explain(err)
}

func (p *packedReader) Read(b []byte) (int, error) {
	n, err := p.plain.Read(b)
	return n, p.explain(err)
}

func (p *packedReader) Close() error { return p.plain.Close() }

// explain returns what is wrong with the stream as ErrInvalid.
func (p *packedReader) explain(err error) error {
	if own := p.in.err.Load(); own != nil {
		return *own
	}
	if err == nil || err == io.EOF { //nolint:errorlint // readers return the bare io.EOF
		return err
	}
	return fmt.Errorf("%w: the archive is damaged or not whole: %w", ErrInvalid, err)
}

// beginsAsTar returns all of r when its first block can be that of an archive
// with something in it, so that no other stream, perhaps without end, is put
// aside first. Empty input is left to those who look for a manifest in it.
func beginsAsTar(r io.Reader) (io.Reader, error) {
	head := make([]byte, 512)
	n, err := io.ReadFull(r, head)
	if n == 0 && errors.Is(err, io.EOF) {
		return r, nil
	}
	if err != nil && err != io.ErrUnexpectedEOF { //nolint:errorlint // one from below is another one
		return nil, err
	}
	_, err = stdtar.NewReader(bytes.NewReader(head[:n])).Next()
	// What a header announces, a long name say, comes in the blocks behind it.
	if n < len(head) || errors.Is(err, stdtar.ErrHeader) || errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: not a tar archive", ErrInvalid)
	}
	return io.MultiReader(bytes.NewReader(head), r), nil
}
