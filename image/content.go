package image

import (
	"context"
	"io"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Document returns a manifest or config that the store keeps, checked against its
// digest. Returns ErrNotFound without it and ErrDigest for another content.
func (s *Store) Document(d digest.Digest) ([]byte, error) { return s.blobs.read(d) }

// BlobSize returns the size of a blob that the store keeps, in bytes.
func (s *Store) BlobSize(d digest.Digest) (size int64, ok bool, err error) { return s.blobs.has(d) }

// OpenBlob opens a blob that the store keeps. Reading it ends with ErrDigest in the place
// of io.EOF where it is not what desc says. Returns ErrNotFound without it.
func (s *Store) OpenBlob(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	f, err := s.blobs.open(desc.Digest)
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{newVerifier(ctx, f, desc), f}, nil
}

// Blobs calls fn for every blob that the store keeps, in no particular order.
func (s *Store) Blobs(fn func(d digest.Digest, size int64) error) error { return s.blobs.walk(fn) }
