package image

import (
	"context"
	"io"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Document returns a manifest or config of the store, after comparing it with
// its digest. It returns ErrNotFound when the store does not have it, and
// ErrDigest for other content.
func (s *Store) Document(d digest.Digest) ([]byte, error) { return s.blobs.read(d) }

// BlobSize returns the size of a blob in the store, in bytes. ok is false when
// the store does not have it.
func (s *Store) BlobSize(d digest.Digest) (size int64, ok bool, err error) { return s.blobs.has(d) }

// OpenBlob opens a blob of the store. A Read returns ErrDigest instead of
// io.EOF when the blob does not have the digest and size of desc. OpenBlob
// returns ErrNotFound when the store does not have the blob.
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

// Blobs calls fn for every blob in the store, in no particular order.
func (s *Store) Blobs(fn func(d digest.Digest, size int64) error) error { return s.blobs.walk(fn) }
