package image

import (
	"context"
	"fmt"
	"slices"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

// plan finds the layers of the export and the sources of their bytes, and pins
// them.
func (j *job) plan(ctx context.Context, what Resolved) error {
	// Stat borrows a snapshot of an additional store.
	if _, err := j.s.snaps.Stat(ctx, what.Key); err != nil {
		return err
	}
	var rows []meta.Snapshot
	err := j.s.snaps.DB().View(func(tx *meta.Tx) (err error) {
		rows, err = tx.Chain(what.Key)
		return err
	})
	if err != nil {
		return err
	}
	j.created = rows[0].Created
	slices.Reverse(rows)
	for _, row := range rows {
		if err := j.s.pin(ctx, j.hold, snapPin(row.Name), keepIt); err != nil {
			return err
		}
	}
	if what.Image != nil {
		if j.base, err = j.s.loadBase(what.Image.Target); err != nil {
			return err
		}
	} else if j.base, err = j.s.findBase(ctx, rows); err != nil {
		return err
	}
	for i, row := range rows {
		p := piece{key: row.Name, created: row.Created}
		switch {
		case j.base != nil && i < len(j.base.Layers):
			p.Layer = j.base.Layers[i]
		case standsForNone(row, j.base):
			continue
		default:
			p.Layer = j.s.layerOf(row)
		}
		if err := j.findBlob(ctx, &p); err != nil {
			return err
		}
		j.pieces = append(j.pieces, p)
	}
	return j.pinDocuments(ctx)
}

// standsForNone reports whether a snapshot is that of an image without layers.
// An image with a single empty layer has the same snapshot. Then the base, or
// the label, makes the difference.
func standsForNone(row meta.Snapshot, b *base) bool {
	if row.Name != emptyDiffID.String() || !isLayer(row) {
		return false
	}
	return b != nil && len(b.Layers) == 0 || b == nil && row.Labels[LabelBlob] == ""
}

// pinDocuments pins the manifest and config until they are written.
func (j *job) pinDocuments(ctx context.Context) error {
	if j.base == nil {
		return nil
	}
	for _, d := range []digest.Digest{j.base.Target.Digest, j.base.Config.Digest} {
		if err := j.s.pin(ctx, j.hold, blobPin(d.String()), keepIt); err != nil {
			return err
		}
	}
	return nil
}

// findBlob checks whether the blob of a layer exists, and changes its
// descriptor to the form in which the export writes it.
func (j *job) findBlob(ctx context.Context, p *piece) error {
	if p.Blob.Digest == "" {
		return nil
	}
	if err := j.s.pin(ctx, j.hold, blobPin(p.Blob.Digest.String()), keepIt); err != nil {
		return err
	}
	size, have, err := j.s.hasAny(p.Blob.Digest)
	if err != nil {
		return err
	}
	if have {
		p.known = true
		p.Blob.Size = size
		p.Blob.MediaType = layerTypes[p.Blob.MediaType].oci
		p.Blob.URLs = nil
	} else {
		p.missing, p.Blob = p.Blob.Digest, ocispec.Descriptor{}
	}
	return nil
}

// layerOf returns the layer that the labels of a snapshot describe. It returns
// an empty Layer if no record vouches for the blob.
func (s *Store) layerOf(row meta.Snapshot) Layer {
	blob := digest.Digest(row.Labels[LabelBlob])
	diffID := digest.Digest(row.Labels[LabelDiffID])
	known, ok := s.knownBlob(ocispec.Descriptor{Digest: blob})
	if !ok || known.DiffID != diffID.String() || diffID.Validate() != nil {
		return Layer{}
	}
	return Layer{Blob: ocispec.Descriptor{MediaType: known.MediaType, Digest: blob}, DiffID: diffID}
}

// findBase finds the image that a chain of snapshots was made from; the base
// comes first in rows. It goes from the uppermost snapshot down, and takes the
// first image that the label of a snapshot names or whose snapshot it is.
func (s *Store) findBase(ctx context.Context, rows []meta.Snapshot) (*base, error) {
	images, err := s.List(ctx)
	if err != nil {
		return nil, err
	}
	for i, row := range slices.Backward(rows) {
		if d := digest.Digest(row.Labels[LabelBase]); d.Validate() == nil {
			if b, err := s.loadBase(ocispec.Descriptor{Digest: d}); err == nil && standsOn(rows, b.Image) {
				return b, nil
			}
		}
		for _, img := range images {
			if img.Snapshot == rows[i].Name && standsOn(rows, img) {
				return s.loadBase(img.Target)
			}
		}
	}
	return nil, nil
}

// standsOn reports whether the lowest snapshots are the layers of an image.
func standsOn(rows []meta.Snapshot, img Image) bool {
	if len(img.Layers) > len(rows) {
		return false
	}
	for i, l := range img.Layers {
		if rows[i].Name != l.ChainID.String() {
			return false
		}
	}
	return len(img.Layers) > 0 || len(rows) > 0 && rows[0].Name == img.Snapshot
}

// noteLayer records which layer an export made of a snapshot. It writes the
// record before the label, because the record vouches for the label.
func (s *Store) noteLayer(ctx context.Context, p *piece) error {
	err := s.snaps.DB().Update(func(tx *meta.Tx) error {
		return tx.PutRecord(blobRecords, p.Blob.Digest.String(), blobRecord{p.DiffID.String(), p.Blob.MediaType})
	})
	if err != nil {
		return fmt.Errorf("remembering the layer: %w", err)
	}
	info := snapshots.Info{Name: p.key, Labels: map[string]string{
		LabelDiffID: p.DiffID.String(),
		LabelBlob:   p.Blob.Digest.String(),
	}}
	if _, err := s.snaps.Update(ctx, info, "labels."+LabelDiffID, "labels."+LabelBlob); err != nil {
		return fmt.Errorf("remembering the layer: %w", err)
	}
	return nil
}
