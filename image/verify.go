package image

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// A verifier reads a blob. At the end it returns an error instead of io.EOF if
// the size or digest of the blob differs from the descriptor. So no reader can
// finish on wrong content.
type verifier struct {
	ctx  context.Context //nolint:containedctx // io.Reader has no parameter for it
	src  io.Reader
	desc ocispec.Descriptor
	hash digest.Digester
	n    int64
	// sink receives a copy of all bytes, if it is set.
	sink io.Writer
	// advance is called with the number of bytes of each read, if it is set.
	advance func(int64)
	err     error
}

func newVerifier(ctx context.Context, src io.Reader, desc ocispec.Descriptor) *verifier {
	return &verifier{ctx: ctx, src: src, desc: desc, hash: desc.Digest.Algorithm().Digester()}
}

// Read implements io.Reader. After an error, every call returns the same error.
func (v *verifier) Read(p []byte) (int, error) {
	if v.err != nil {
		return 0, v.err
	}
	if err := v.ctx.Err(); err != nil {
		return 0, v.stop(err)
	}
	n, err := v.src.Read(p)
	if n > 0 {
		if e := v.take(p[:n]); e != nil {
			return 0, v.stop(e)
		}
	}
	if errors.Is(err, io.EOF) {
		err = v.check()
	}
	if err != nil {
		return n, v.stop(err)
	}
	return n, nil
}

func (v *verifier) stop(err error) error {
	v.err = err
	return err
}

func (v *verifier) take(p []byte) error {
	v.n += int64(len(p))
	if v.n > v.desc.Size {
		return fmt.Errorf("%w: blob %s is longer than the %d bytes it should have", ErrDigest, v.desc.Digest, v.desc.Size)
	}
	v.hash.Hash().Write(p) // never fails
	if v.sink != nil {
		if _, err := v.sink.Write(p); err != nil {
			return fmt.Errorf("keeping blob %s: %w", v.desc.Digest, err)
		}
	}
	if v.advance != nil {
		v.advance(int64(len(p)))
	}
	return nil
}

// check returns io.EOF if size and digest are right.
func (v *verifier) check() error {
	if v.n != v.desc.Size {
		return fmt.Errorf("%w: blob %s has %d bytes and should have %d", ErrDigest, v.desc.Digest, v.n, v.desc.Size)
	}
	if got := v.hash.Digest(); got != v.desc.Digest {
		return fmt.Errorf("%w: blob %s has the digest %s", ErrDigest, v.desc.Digest, got)
	}
	return io.EOF
}

// drain reads to the end and returns the error of the blob, if any.
func (v *verifier) drain() error {
	_, err := io.Copy(io.Discard, v)
	return err
}

// checkDescriptor returns an error for a descriptor that cannot be looked up or
// verified.
func checkDescriptor(d ocispec.Descriptor) error {
	if n := max(len(d.Digest), len(d.MediaType), len(d.ArtifactType)); n > maxText {
		return fmt.Errorf("%w: a digest or media type of %d bytes", errBound, n)
	}
	if err := d.Digest.Validate(); err != nil {
		return fmt.Errorf("%w: digest %q: %w", ErrInvalid, d.Digest, err)
	}
	if d.Size < 0 {
		return fmt.Errorf("%w: %s has a size of %d", ErrInvalid, d.Digest, d.Size)
	}
	return nil
}
