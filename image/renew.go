package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/tar"
)

// ErrNoSource: the store has no data that says, byte for byte, what a layer or
// a blob must be.
var ErrNoSource error = &sentinel{"the store has nothing to make it from", ErrNotFound}

// RenewLayer makes the layer of a committed snapshot again from its blob, in
// place, see [snapshotter.Snapshotter.Renew]. An import, and an export of a
// snapshot that a user committed, have recorded which blob that is; in the
// second case the result must have the digest that the commit recorded. With
// dryRun RenewLayer only reads the blob and compares it with what the layer
// must be.
//
// RenewLayer returns ErrNoSource for a snapshot without such a blob and for a
// missing blob, [driver.ErrDigest] or [driver.ErrInvalidLayer] for a damaged
// blob, and [driver.ErrUnsupported] when the driver is not a [driver.Replacer].
func (s *Store) RenewLayer(ctx context.Context, key string, dryRun bool) error {
	if _, ok := s.snaps.Driver().(driver.Replacer); !ok {
		return fmt.Errorf("%w: driver %s cannot replace a layer", driver.ErrUnsupported, s.snaps.Driver().Name())
	}
	l, err := s.sourceOf(key)
	if err != nil {
		return err
	}
	r, err := s.openSourceOf(l)
	if errors.Is(err, ErrNotFound) {
		return fmt.Errorf("%w: its blob %s is missing", ErrNoSource, l.Blob.Digest)
	}
	if err != nil {
		return err
	}
	defer r.Close()
	if dryRun {
		err = checkDiffID(ctx, r, l)
	} else {
		err = s.snaps.Renew(ctx, key, r, driver.ApplyOptions{DiffID: l.DiffID})
	}
	if err != nil {
		return fmt.Errorf("from its blob %s: %w", l.Blob.Digest, err)
	}
	return nil
}

// sourceOf returns the layer that a snapshot was unpacked from or exported as.
func (s *Store) sourceOf(key string) (l Layer, err error) {
	row, err := s.rowOf(key)
	if err != nil {
		return l, err
	}
	if row.Store != "" {
		return l, fmt.Errorf("%w: its layer is in the additional store %s", errReadOnly, row.Store)
	}
	l.DiffID, l.Blob.Digest = digest.Digest(row.Labels[LabelDiffID]), digest.Digest(row.Labels[LabelBlob])
	imported := row.Labels[LabelLayer] == key
	if imported && l.DiffID == emptyDiffID && l.Blob.Digest == "" {
		return l, nil // the layer of an image without layers
	}
	if !imported && row.Digest == "" || l.DiffID.Validate() != nil || l.Blob.Digest.Validate() != nil {
		return l, ErrNoSource
	}
	return l, nil
}

func (s *Store) openSourceOf(l Layer) (io.ReadCloser, error) {
	if l.Blob.Digest == "" {
		return io.NopCloser(bytes.NewReader(nil)), nil
	}
	return s.blobs.open(l.Blob.Digest)
}

// RenewBlob makes the blob of a layer again from the layer. This works only
// when the result has exactly the same bytes: when the recipe of the layer was
// kept (see ImportOptions.Recipes), or when the blob was packed here or as it
// would be packed here. With dryRun the blob is not written. RenewBlob returns
// ErrNoSource when no layer gives these bytes; then only the source of the
// image has them.
func (s *Store) RenewBlob(ctx context.Context, d digest.Digest, dryRun bool) error {
	if err := d.Validate(); err != nil {
		return fmt.Errorf("%w: blob %q: %w", ErrInvalid, d, err)
	}
	var layers []snapshots.Info
	var diffID digest.Digest
	err := s.snaps.Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		of := digest.Digest(info.Labels[LabelDiffID])
		if info.Labels[LabelBlob] == d.String() && info.Kind == snapshots.KindCommitted && of.Validate() == nil {
			layers, diffID = append(layers, info), of
		}
		return nil
	})
	if err != nil {
		return err
	}
	none := fmt.Errorf("%w: no layer gives its bytes", ErrNoSource)
	for _, layer := range layers {
		err := s.repackAs(ctx, layer, diffID, d, dryRun)
		if err == nil || ctx.Err() != nil {
			return err
		}
		if !errors.Is(err, ErrNoSource) {
			none = fmt.Errorf("%w: %w", ErrNoSource, err)
		}
	}
	return none
}

// A tarWriter writes the uncompressed tar of a layer.
type tarWriter func(ctx context.Context, w io.Writer) error

// repackAs writes the changes of a snapshot as the blob d, if they give exactly
// these bytes.
func (s *Store) repackAs(ctx context.Context, layer snapshots.Info, diffID, d digest.Digest, dryRun bool) error {
	if p := packerNamed(layer.Labels[LabelPacker]); p != nil {
		kept := true
		err := s.repackWith(ctx, func(ctx context.Context, w io.Writer) (err error) {
			kept, err = s.tarFrom(ctx, layer.Name, layer.Labels, w)
			return err
		}, p, diffID, d, dryRun)
		if err == nil || kept && !errors.Is(err, ErrNoSource) {
			return err
		}
	}
	kinds := []tar.Compression{tar.Gzip, tar.None, tar.Zstd}
	if known, ok := s.knownBlob(ocispec.Descriptor{Digest: d}); ok {
		kinds = []tar.Compression{layerTypes[known.MediaType].packed}
	}
	changes := func(ctx context.Context, w io.Writer) error {
		_, err := s.snaps.Diff(ctx, layer.Name, w, driver.DiffOptions{})
		return err
	}
	for _, c := range kinds {
		err := s.repackWith(ctx, changes, packerNamed(c.String()), diffID, d, dryRun)
		if !errors.Is(err, ErrNoSource) {
			return err
		}
	}
	return ErrNoSource
}

func (s *Store) repackWith(ctx context.Context, write tarWriter, p *packer, diffID, d digest.Digest, dryRun bool) error {
	var out *blobWriter
	to := io.Discard
	if !dryRun {
		var err error
		if out, err = s.blobs.create(); err != nil {
			return err
		}
		defer out.abort()
		to = out
	}
	blob, content := d.Algorithm().Hash(), diffID.Algorithm().Hash()
	packed, err := p.open(io.MultiWriter(to, blob))
	if err != nil {
		return err
	}
	if err := write(ctx, io.MultiWriter(packed, content)); err != nil {
		return errors.Join(err, packed.Close())
	}
	if err := packed.Close(); err != nil {
		return err
	}
	if digest.NewDigest(diffID.Algorithm(), content) != diffID || digest.NewDigest(d.Algorithm(), blob) != d {
		return ErrNoSource
	}
	if dryRun {
		return nil
	}
	return out.commit(d)
}
