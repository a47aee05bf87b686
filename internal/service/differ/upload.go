package differ

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"

	"github.com/containerd/containerd/v2/core/content"
	ctddiff "github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/tar"
)

// A job is one layer on its way into the engine's content store.
type job struct {
	d      *Differ
	config ctddiff.Config
	pack   func(io.Writer) (io.WriteCloser, error)
	write  writeLayer
}

func (d *Differ) newJob(ctx context.Context, opts []ctddiff.Opt) (*job, error) {
	config, err := configure(ctx, opts)
	if err != nil {
		return nil, err
	}
	j := &job{d: d, config: config}
	if config.Compressor != nil {
		j.pack = func(w io.Writer) (io.WriteCloser, error) { return config.Compressor(w, config.MediaType) }
		return j, nil
	}
	packed, ok := writable(config.MediaType)
	if !ok {
		return nil, notOurs("make a layer of media type %q", config.MediaType)
	}
	j.pack = func(w io.Writer) (io.WriteCloser, error) { return tar.Compress(w, packed) }
	return j, nil
}

// run makes the layer and stores it.
func (j *job) run(ctx context.Context) (ocispec.Descriptor, error) {
	ctx, err := j.d.engine.outgoing(ctx)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	t, err := j.d.engine.startTransfer(ctx, j.config.Reference, j.config.MediaType)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	desc, err := j.store(ctx, t)
	if err != nil {
		return ocispec.Descriptor{}, t.discard(err)
	}
	t.close()
	return desc, nil
}

// store writes the layer and commits it.
func (j *job) store(ctx context.Context, t *transfer) (ocispec.Descriptor, error) {
	if err := t.writer.Truncate(0); err != nil {
		return ocispec.Descriptor{}, err
	}
	sum, err := j.send(ctx, t.writer)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	set := maps.Clone(j.config.Labels)
	if set == nil {
		set = map[string]string{}
	}
	set[labels.LabelUncompressed] = sum.plain.Digest().String()
	packed := sum.packed.Digest()
	drop, err := j.d.engine.protect(ctx, packed)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	err = t.writer.Commit(t.ctx, sum.n, packed, content.WithLabels(set))
	if gone := ctx.Err(); gone != nil {
		drop() // nobody will refer to the layer
		return ocispec.Descriptor{}, gone
	}
	switch {
	case errdefs.IsAlreadyExists(err):
		if err := addLabels(ctx, t.store, packed, set); err != nil {
			return ocispec.Descriptor{}, err
		}
	case err != nil:
		drop()
		return ocispec.Descriptor{}, fmt.Errorf("commit layer %s to containerd's store: %w", packed, err)
	}
	return ocispec.Descriptor{MediaType: j.config.MediaType, Digest: packed, Size: sum.n}, nil
}

// addLabels gives a blob that was there the labels that it does not have.
func addLabels(ctx context.Context, store content.Manager, blob digest.Digest, set map[string]string) error {
	info, err := store.Info(ctx, blob)
	if err != nil {
		return fmt.Errorf("layer %s, which containerd's store has: %w", blob, err)
	}
	missing, paths := map[string]string{}, []string{}
	for key, value := range set {
		if _, ok := info.Labels[key]; !ok {
			missing[key] = value
			paths = append(paths, "labels."+key)
		}
	}
	if len(paths) == 0 {
		return nil
	}
	if _, err := store.Update(ctx, content.Info{Digest: blob, Labels: missing}, paths...); err != nil {
		return fmt.Errorf("label layer %s, which containerd's store has: %w", blob, err)
	}
	return nil
}

// sums are what becomes known of a layer while it is sent.
type sums struct {
	plain, packed digest.Digester
	n             int64 // bytes, packed
}

// send writes, packs and uploads the layer, side by side.
func (j *job) send(ctx context.Context, w io.Writer) (_ *sums, err error) {
	s := &sums{plain: digest.Canonical.Digester(), packed: digest.Canonical.Digester()}
	up := newUpload(ctx, w)
	packer, err := j.pack(&counter{w: up, hash: s.packed.Hash(), n: &s.n})
	if err != nil {
		return nil, errors.Join(err, up.close())
	}
	err = j.write(ctx, io.MultiWriter(packer, s.plain.Hash()), driver.DiffOptions{MaxTime: *j.config.SourceDateEpoch})
	if e := packer.Close(); err == nil {
		err = e
	}
	if e := up.close(); e != nil && (err == nil || errors.Is(err, errUpload)) {
		err = e // why nothing more could be written
	}
	return s, err
}

// counter hashes and counts what goes to w.
type counter struct {
	w    io.Writer
	hash hash.Hash
	n    *int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.hash.Write(p[:n])
	*c.n += int64(n)
	return n, err
}
