package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/snapshotter"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
	"github.com/layerkeep/layerkeep/tar"
)

// A layerReader reads the blob of a layer once. It verifies the blob, and
// stores it in the content directory if it comes from the source.
type layerReader struct {
	io.Reader
	v      *verifier
	src    io.Closer
	out    *blobWriter
	onKept func()
	// kept: the blob is read from the content directory.
	kept bool
}

// rotten is an error of a blob in the content directory: it cannot be read, or
// it does not have its digest.
type rotten struct{ error }

func (r rotten) Unwrap() error { return r.error }

// reading calls fn with the blob of a step. The blob comes from the content
// directory if it is there, and otherwise from the source; then it is also
// stored. If the stored blob is damaged, reading calls fn once more with the
// blob of the source, and replaces the stored one. The first call had no effect
// then, because fn received an error.
func (u *unpacker) reading(ctx context.Context, st *step, fn func(r io.Reader) error) error {
	err := u.readOnce(ctx, st, fn)
	var found rotten
	if !errors.As(err, &found) {
		return err
	}
	u.rotten.Store(st.layer, true)
	if again := u.readOnce(ctx, st, fn); again != nil {
		return fmt.Errorf("%w; the kept blob is damaged: %w", again, found.error)
	}
	u.warn(st, "the kept blob of this layer was damaged, and was replaced: "+found.Error())
	return nil
}

func (u *unpacker) readOnce(ctx context.Context, st *step, fn func(r io.Reader) error) error {
	r, err := u.open(ctx, st)
	if err != nil {
		return err
	}
	defer r.close()
	return r.finish(fn(r))
}

func (u *unpacker) warn(st *step, message string) {
	if u.opts.Warn != nil {
		u.opts.Warn(st.layer, "", message)
	}
}

// open opens the blob of a step. It prefers the content directory.
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
	_, isRotten := u.rotten.Load(i)
	r := &layerReader{kept: have && !isRotten}
	var src io.ReadCloser
	if r.kept {
		if src, err = u.s.blobs.open(desc.Digest); err != nil {
			err = rotten{err}
		}
	} else {
		src, err = u.img.layer(i)
	}
	if err != nil {
		return nil, err
	}
	r.src, r.v = src, newVerifier(ctx, src, desc)
	r.v.advance = func(n int64) { u.opts.Progress.Advance(i, n) }
	r.Reader = r.v
	if !r.kept {
		if r.out, err = u.s.blobs.create(); err != nil {
			return nil, errors.Join(fmt.Errorf("keeping blob %s: %w", desc.Digest, err), src.Close())
		}
		r.v.sink = r.out
		r.onKept = func() {
			// A blob that was there before may have other users, whatever becomes of this
			// import.
			if !have {
				u.s.pins.made(blobPin(desc.Digest.String()))
			}
		}
	}
	return r, nil
}

// finish reads the blob to its end even if unpacking has failed, and stores the
// blob if it is sound. If the blob does not have its digest, finish returns
// that error, because it explains the others.
func (r *layerReader) finish(err error) error {
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case err == nil, errors.Is(err, driver.ErrNeedsParents), errors.Is(err, driver.ErrInvalidLayer),
		errors.Is(err, driver.ErrDigest), errors.Is(err, ErrMediaType):
		if e := r.v.drain(); e != nil {
			return r.failed(e)
		}
	}
	if r.v.err != nil && !errors.Is(r.v.err, io.EOF) {
		return r.failed(r.v.err)
	}
	if r.out != nil && (err == nil || errors.Is(err, driver.ErrNeedsParents)) {
		if e := r.out.commit(r.v.desc.Digest); e != nil {
			return fmt.Errorf("keeping blob %s: %w", r.v.desc.Digest, e)
		}
		r.onKept()
	}
	return err
}

// failed returns the error for a blob that could not be read to its end or does
// not have its digest.
func (r *layerReader) failed(err error) error {
	if r.kept && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return rotten{err}
	}
	return err
}

func (r *layerReader) close() {
	r.out.abort()
	r.src.Close()
}

// keep makes sure that an existing layer is usable, according to its record and
// its root directory, and that its blob exists.
func (u *unpacker) keep(ctx context.Context, st *step) error {
	damage := u.s.snaps.Usable(ctx, st.key)
	if damage != nil && !snapshotter.IsDamage(damage) {
		return damage
	}
	if damage == nil {
		if err := u.keepBlob(ctx, st); err != nil {
			return err
		}
		u.state(st, LayerExists)
		return nil
	}
	u.state(st, LayerStarted)
	err := u.reading(ctx, st, func(r io.Reader) error {
		return u.s.snaps.Renew(ctx, st.key, r, u.applyOptions(st))
	})
	if err != nil {
		return fmt.Errorf("%w; it is unpacked again because the layer is damaged: %w", err, damage)
	}
	u.warn(st, "this layer was damaged, and was unpacked again: "+damage.Error())
	u.state(st, LayerDone)
	return nil
}

// keepBlob makes sure that the blob of an existing layer exists too, and that
// it unpacks to the diffID that the image claims. Otherwise an export would
// spread the error. keepBlob reads the blob, because now the source can replace
// a damaged one.
func (u *unpacker) keepBlob(ctx context.Context, st *step) error {
	if st.layer < 0 {
		return nil
	}
	l := u.img.Layers[st.layer]
	size, have, err := u.s.blobs.has(l.Blob.Digest)
	if err != nil {
		return err
	}
	if known, ok := u.s.knownBlob(l.Blob); have && ok && size == l.Blob.Size {
		switch {
		case known.DiffID != l.DiffID.String():
			return fmt.Errorf("%w: blob %s unpacks to %s and should to %s", driver.ErrDigest, l.Blob.Digest, known.DiffID, l.DiffID)
		case known.MediaType != layerTypes[l.Blob.MediaType].oci:
			return fmt.Errorf("%w: blob %s is of type %q, the manifest says %q", ErrMediaType, l.Blob.Digest, known.MediaType, l.Blob.MediaType)
		}
		return u.reading(ctx, st, func(io.Reader) error { return nil })
	}
	return u.reading(ctx, st, func(r io.Reader) error { return checkDiffID(ctx, r, l) })
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

// knownBlob returns the record about a blob.
func (s *Store) knownBlob(d ocispec.Descriptor) (r blobRecord, ok bool) {
	err := s.snaps.DB().View(func(tx *meta.Tx) error { return tx.GetRecord(blobRecords, d.Digest.String(), &r) })
	return r, err == nil
}
