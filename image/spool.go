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

// fillSpool decompresses a stream into a file, if the stream is an archive.
func fillSpool(ctx context.Context, spool *os.File, r io.Reader, limit int64, p Progress) error {
	// The goroutine may be blocked in a Read that cannot be interrupted. Its next
	// write then fails, because the file is closed.
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

// A packedReader decompresses a stream. It distinguishes errors of reading the
// stream from errors in its content.
type packedReader struct {
	in    packedInput
	plain io.ReadCloser
}

// packedInput keeps the error of reading. The field is atomic, because a
// decompressor may read in a goroutine of its own.
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

// explain returns an error in the content as ErrInvalid.
func (p *packedReader) explain(err error) error {
	if own := p.in.err.Load(); own != nil {
		return *own
	}
	if err == nil || err == io.EOF { //nolint:errorlint // readers return the bare io.EOF
		return err
	}
	return fmt.Errorf("%w: the archive is damaged or not whole: %w", ErrInvalid, err)
}

// beginsAsTar returns a reader of all of r, if the first block can start an
// archive that is not empty. So a stream that is not an archive, and may have
// no end, is not copied to disk first. Empty input is accepted; looking for the
// manifest will fail later.
func beginsAsTar(r io.Reader) (io.Reader, error) {
	head := make([]byte, 512)
	n, err := io.ReadFull(r, head)
	if n == 0 && errors.Is(err, io.EOF) {
		return r, nil
	}
	if err != nil && err != io.ErrUnexpectedEOF { //nolint:errorlint // only ReadFull itself returns the bare error
		return nil, err
	}
	_, err = stdtar.NewReader(bytes.NewReader(head[:n])).Next()
	// A header may announce data in later blocks, for example a long name; that is
	// no error.
	if n < len(head) || errors.Is(err, stdtar.ErrHeader) || errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: not a tar archive", ErrInvalid)
	}
	return io.MultiReader(bytes.NewReader(head), r), nil
}
