package image

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// A verifier reads a blob and ends with an error instead of io.EOF when its
// size or digest is not that of the descriptor. Whoever unpacks what comes out
// of it cannot finish on wrong content.
type verifier struct {
	ctx  context.Context //nolint:containedctx // io.Reader has no other way to it
	src  io.Reader
	desc ocispec.Descriptor
	hash digest.Digester
	n    int64
	// sink, when set, gets a copy of all bytes.
	sink io.Writer
	// advance, when set, is told of the bytes.
	advance func(int64)
	err     error
}

func newVerifier(ctx context.Context, src io.Reader, desc ocispec.Descriptor) *verifier {
	return &verifier{ctx: ctx, src: src, desc: desc, hash: desc.Digest.Algorithm().Digester()}
}

// Read implements io.Reader. Errors stay.
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

// check returns io.EOF when all is well.
func (v *verifier) check() error {
	if v.n != v.desc.Size {
		return fmt.Errorf("%w: blob %s has %d bytes and should have %d", ErrDigest, v.desc.Digest, v.n, v.desc.Size)
	}
	if got := v.hash.Digest(); got != v.desc.Digest {
		return fmt.Errorf("%w: blob %s has the digest %s", ErrDigest, v.desc.Digest, got)
	}
	return io.EOF
}

// drain reads to the end and returns what was wrong with the blob.
func (v *verifier) drain() error {
	_, err := io.Copy(io.Discard, v)
	return err
}

// checkDescriptor refuses what cannot be looked up or verified.
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
