package image

import (
	"context"
	"errors"
	"io"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/durable"
	"github.com/layerkeep/layerkeep/tar"
)

// pack writes the changes of a snapshot to w as the blob of a layer, and
// returns the layer. It writes the same bytes every time.
func (j *job) pack(ctx context.Context, key string, w io.Writer) (l Layer, err error) {
	blob, diffID := digest.SHA256.Digester(), digest.SHA256.Digester()
	size := &counter{w: io.MultiWriter(w, blob.Hash())}
	packed, err := tar.Compress(size, tar.Gzip)
	if err != nil {
		return l, err
	}
	if err := j.writeTar(ctx, key, io.MultiWriter(packed, diffID.Hash())); err != nil {
		return l, errors.Join(err, packed.Close())
	}
	if err := packed.Close(); err != nil {
		return l, err
	}
	l.DiffID = diffID.Digest()
	l.Blob = ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayerGzip, Digest: blob.Digest(), Size: size.n}
	return l, nil
}

// writeTar writes the tar of a layer. If the recipe of the layer was kept, this
// is the tar that it was unpacked from, so the image keeps its config.
// Otherwise it is the changes of the snapshot.
func (j *job) writeTar(ctx context.Context, key string, w io.Writer) error {
	info, err := j.s.snaps.Stat(ctx, key)
	if err != nil {
		return err
	}
	if kept, err := j.s.tarFrom(ctx, key, info.Labels, w); kept || err != nil {
		return err
	}
	_, err = j.s.snaps.Diff(ctx, key, w, driver.DiffOptions{MaxTime: j.opts.SourceDateEpoch})
	return err
}

// take makes l the layer of the piece.
func (p *piece) take(l Layer) { p.DiffID, p.Blob, p.known = l.DiffID, l.Blob, true }

// makeLayer stores the changes of a snapshot as a blob, and records the blob on
// the snapshot. If the store is read-only or full, makeLayer only computes the
// digest and size of the blob. An export must work from a full store too.
func (j *job) makeLayer(ctx context.Context, p *piece) error {
	if !j.s.snaps.ReadOnly() {
		if err := j.keepLayer(ctx, p); !durable.NoRoom(err) {
			return err
		}
	}
	l, err := j.pack(ctx, p.key, io.Discard)
	if err != nil {
		return err
	}
	p.take(l)
	p.repack = true
	return nil
}

func (j *job) keepLayer(ctx context.Context, p *piece) error {
	out, err := j.s.blobs.create()
	if err != nil {
		return err
	}
	defer out.abort()
	l, err := j.pack(ctx, p.key, out)
	if err != nil {
		return err
	}
	if err := j.s.pin(ctx, j.hold, blobPin(l.Blob.Digest.String()), keepIt); err != nil {
		return err
	}
	// If a blob exists and no record describes it, its content is unknown, so it is
	// replaced.
	_, known := j.s.knownBlob(l.Blob)
	if _, have, err := j.s.blobs.has(l.Blob.Digest); err != nil {
		return err
	} else if !have || !known {
		if err := out.commit(l.Blob.Digest); err != nil {
			return err
		}
	}
	p.take(l)
	return j.s.noteLayer(ctx, p)
}

// openBlob opens the blob of a layer, or makes it again.
func (j *job) openBlob(ctx context.Context, e entry) (io.ReadCloser, error) {
	if p := j.pieces[e.layer]; p.repack {
		return j.repack(ctx, p.key), nil
	}
	return j.s.openAny(e.Digest)
}

// repack packs a layer while it is being read.
func (j *job) repack(ctx context.Context, key string) io.ReadCloser {
	r, w := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, err := j.pack(ctx, key, w)
		w.CloseWithError(err)
	}()
	return repacked{r, done}
}

// A repacked is a layer that is being packed.
type repacked struct {
	*io.PipeReader
	done <-chan struct{}
}

// Close stops the packing and waits for its end.
func (r repacked) Close() error {
	err := r.PipeReader.Close()
	<-r.done
	return err
}

// keepIt is the drop function for pins of an export. It removes nothing,
// because the blobs belong to the snapshot.
func keepIt(context.Context) error { return nil }

// counter counts the bytes that are written.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
