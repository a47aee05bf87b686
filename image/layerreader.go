package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
	"github.com/layerkeep/layerkeep/tar"
)

// A layerReader is the blob of a layer on its one way from the source: what is
// read from it is verified and, when we do not have the blob, kept.
type layerReader struct {
	io.Reader
	v      *verifier
	src    io.Closer
	out    *blobWriter
	onKept func()
}

// open opens the blob of a step, from the content directory when it is there.
func (u *unpacker) open(ctx context.Context, st *step) (*layerReader, error) {
	if st.layer < 0 {
		desc := ocispec.Descriptor{Digest: emptyDiffID}
		v := newVerifier(ctx, bytes.NewReader(nil), desc)
		return &layerReader{Reader: v, v: v, src: io.NopCloser(nil)}, nil
	}
	r, err := u.openBlob(ctx, st.layer)
	if err != nil {
		return nil, err
	}
	packed, whole, err := sniff(r.v)
	if err == nil {
		err = checkPacked(u.img.Layers[st.layer].Blob.MediaType, packed)
	}
	if err != nil {
		err = r.finish(err)
		r.close()
		return nil, err
	}
	r.Reader = whole
	return r, nil
}

func (u *unpacker) openBlob(ctx context.Context, i int) (*layerReader, error) {
	desc := u.img.Layers[i].Blob
	_, have, err := u.s.blobs.has(desc.Digest)
	if err != nil {
		return nil, err
	}
	r := &layerReader{}
	var src io.ReadCloser
	if have {
		src, err = u.s.blobs.open(desc.Digest)
	} else {
		src, err = u.img.layer(i)
	}
	if err != nil {
		return nil, err
	}
	r.src, r.v = src, newVerifier(ctx, src, desc)
	r.v.advance = func(n int64) { u.opts.Progress.Advance(i, n) }
	r.Reader = r.v
	if !have {
		if r.out, err = u.s.blobs.create(); err != nil {
			return nil, errors.Join(fmt.Errorf("keeping blob %s: %w", desc.Digest, err), src.Close())
		}
		r.v.sink = r.out
		r.onKept = func() { u.s.pins.made(blobPin(desc.Digest.String())) }
	}
	return r, nil
}

// finish reads the blob to its end, whatever became of the unpacking, and keeps
// it when it is sound. A blob that is not what its digest says is the reason for
// whatever else went wrong.
func (r *layerReader) finish(err error) error {
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case err == nil, errors.Is(err, driver.ErrNeedsParents), errors.Is(err, driver.ErrInvalidLayer),
		errors.Is(err, driver.ErrDigest), errors.Is(err, ErrMediaType):
		if e := r.v.drain(); e != nil {
			return e
		}
	}
	if r.v.err != nil && !errors.Is(r.v.err, io.EOF) {
		return r.v.err
	}
	if r.out != nil && (err == nil || errors.Is(err, driver.ErrNeedsParents)) {
		if e := r.out.commit(r.v.desc.Digest); e != nil {
			return fmt.Errorf("keeping blob %s: %w", r.v.desc.Digest, e)
		}
		r.onKept()
	}
	return err
}

func (r *layerReader) close() {
	r.out.abort()
	r.src.Close()
}

// keepBlob makes sure that the blob of a layer whose snapshot is there is there
// too, and unpacks to the diffID that the image claims for it: an export would
// spread what is wrong.
func (u *unpacker) keepBlob(ctx context.Context, i int) error {
	if i < 0 {
		return nil
	}
	l := u.img.Layers[i]
	size, have, err := u.s.blobs.has(l.Blob.Digest)
	if err != nil {
		return err
	}
	if known, ok := u.s.knownBlob(l.Blob); have && ok {
		switch {
		case size != l.Blob.Size:
			return fmt.Errorf("%w: blob %s has %d bytes and should have %d", ErrDigest, l.Blob.Digest, size, l.Blob.Size)
		case known.DiffID != l.DiffID.String():
			return fmt.Errorf("%w: blob %s unpacks to %s and should to %s", driver.ErrDigest, l.Blob.Digest, known.DiffID, l.DiffID)
		case known.MediaType != layerTypes[l.Blob.MediaType].oci:
			return fmt.Errorf("%w: blob %s is of type %q, the manifest says %q", ErrMediaType, l.Blob.Digest, known.MediaType, l.Blob.MediaType)
		}
		return nil
	}
	r, err := u.open(ctx, &u.steps[i])
	if err != nil {
		return err
	}
	defer r.close()
	return r.finish(checkDiffID(ctx, r, l))
}

func checkDiffID(ctx context.Context, r io.Reader, l Layer) error {
	rc, _, err := tar.NewDecompressor(r)
	if err != nil {
		return err
	}
	defer rc.Close()
	hash := l.DiffID.Algorithm().Digester()
	if _, err := copyContext(ctx, hash.Hash(), rc); err != nil {
		return fmt.Errorf("%w: %w", driver.ErrInvalidLayer, err)
	}
	if got := hash.Digest(); got != l.DiffID {
		return fmt.Errorf("%w: the layer is %s, the config says %s", driver.ErrDigest, got, l.DiffID)
	}
	return nil
}

// knownBlob returns what was found out about a blob before.
func (s *Store) knownBlob(d ocispec.Descriptor) (r blobRecord, ok bool) {
	err := s.snaps.DB().View(func(tx *meta.Tx) error { return tx.GetRecord(blobRecords, d.Digest.String(), &r) })
	return r, err == nil
}
