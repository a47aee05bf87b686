package image

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layerkeep/layerkeep/snapshotter"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

// maxLentLayers limits the number of layers of an image in another store.
const maxLentLayers = 1000

// openAdditional opens the images of the additional stores.
func (s *Store) openAdditional() {
	for _, other := range s.snaps.Additional() {
		b := blobsIn(contentOf(other))
		b.refused = b.check()
		s.others = append(s.others, &Store{snaps: other, blobs: b, pins: newPins()})
	}
}

// lent calls fn for each image that another store can take from this one. It
// skips a record that this program cannot have written, because the other store
// may have been made by anybody.
func (s *Store) lent(ctx context.Context, fn func(Image)) error {
	return s.snaps.DB().View(func(tx *meta.Tx) error {
		return tx.WalkRecords(imageRecords, func(name string, raw json.RawMessage) error {
			var img Image
			if json.Unmarshal(raw, &img) == nil && img.Name == name {
				if img, err := s.lend(img); err == nil {
					fn(img)
				}
			}
			return ctx.Err()
		})
	})
}

// lend returns the part of an image record that another store may use. It
// returns an error for an image that an import cannot have made. This makes
// sure that each name in the record means the same in both stores.
func (s *Store) lend(img Image) (Image, error) {
	full, err := ParseName(img.Name)
	if err != nil || full != img.Name || len(img.Layers) > maxLentLayers {
		return Image{}, fmt.Errorf("%w: image %q: it cannot have that name or %d layers", ErrInvalid, img.Name, len(img.Layers))
	}
	var diffIDs []digest.Digest
	for i, l := range img.Layers {
		if err := errors.Join(checkDescriptor(l.Blob), l.DiffID.Validate()); err != nil {
			return Image{}, fmt.Errorf("image %s: layer %d: %w", img.Name, i+1, err)
		}
		img.Layers[i].Blob = bare(l.Blob)
		diffIDs = append(diffIDs, l.DiffID)
	}
	snapshot := emptyDiffID
	for i, chainID := range identity.ChainIDs(diffIDs) {
		if img.Layers[i].ChainID != chainID {
			return Image{}, fmt.Errorf("%w: image %s: layer %d is not %s", ErrInvalid, img.Name, i+1, img.Layers[i].ChainID)
		}
		snapshot = chainID
	}
	if img.Snapshot != snapshot.String() {
		return Image{}, fmt.Errorf("%w: image %s: its snapshot is not %s", ErrInvalid, img.Name, img.Snapshot)
	}
	if err := errors.Join(checkDescriptor(img.Target), checkDescriptor(img.Config)); err != nil {
		return Image{}, fmt.Errorf("image %s: %w", img.Name, err)
	}
	img.Target, img.Config, img.Store = bare(img.Target), bare(img.Config), s.snaps.ID()
	return img, nil
}

// bare returns a descriptor that only identifies the content.
func bare(d ocispec.Descriptor) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}
}

// withLent adds the images of the additional stores to those of this store,
// except images whose names are taken. A store that is open for reading only
// cannot use such images.
func (s *Store) withLent(ctx context.Context, images []Image) []Image {
	if s.snaps.ReadOnly() {
		return images
	}
	taken := map[string]bool{}
	for _, img := range images {
		taken[img.Name] = true
	}
	for _, other := range s.others {
		var more []Image
		// Damage in that store must not hide images of this store. A check of that
		// store reports it.
		_ = other.lent(ctx, func(img Image) {
			if !taken[img.Name] {
				more = append(more, img)
			}
		})
		for _, img := range more {
			taken[img.Name] = true
		}
		images = append(images, more...)
	}
	slices.SortStableFunc(images, func(a, b Image) int { return cmp.Compare(a.Name, b.Name) })
	return images
}

// lentNamed looks up a full name in the additional stores.
func (s *Store) lentNamed(full string) (Image, error) {
	for _, other := range s.others {
		if s.snaps.ReadOnly() {
			break
		}
		var img Image
		err := other.snaps.DB().View(func(tx *meta.Tx) error { return tx.GetRecord(imageRecords, full, &img) })
		if err == nil && img.Name == full {
			if img, err = other.lend(img); err == nil {
				return img, nil
			}
		}
	}
	return Image{}, fmt.Errorf("image %s: %w", full, ErrNotFound)
}

// errLent is the error for removing an image of an additional store.
func (s *Store) errLent(img Image) error {
	root := ""
	for _, other := range s.others {
		if other.snaps.ID() == img.Store {
			root = other.snaps.Root()
		}
	}
	return fmt.Errorf("image %s: %w: it is in the additional store %s at %s, which is only read", img.Name, errReadOnly, img.Store, root)
}

// openAny opens a blob of this store or of an additional one. The reader must
// compare the content with the digest.
func (s *Store) openAny(d digest.Digest) (*os.File, error) {
	f, err := s.blobs.open(d)
	for _, other := range s.others {
		if !errors.Is(err, ErrNotFound) {
			break
		}
		f, err = other.blobs.open(d)
	}
	return f, err
}

// hasAny is blobs.has for this store and the additional ones.
func (s *Store) hasAny(d digest.Digest) (size int64, ok bool, err error) {
	size, ok, err = s.blobs.has(d)
	for _, other := range s.others {
		if ok || err != nil {
			break
		}
		size, ok, err = other.blobs.has(d)
	}
	return size, ok, err
}

// readAny is blobs.read for this store and the additional ones.
func (s *Store) readAny(d digest.Digest) (raw []byte, err error) {
	raw, err = s.blobs.read(d)
	for _, other := range s.others {
		if !errors.Is(err, ErrNotFound) {
			break
		}
		raw, err = other.blobs.read(d)
	}
	return raw, err
}

// lasting reports whether an import can use an existing snapshot. If the
// snapshot is borrowed and damaged, lasting forgets it, so that the layer is
// unpacked here.
func (s *Store) lasting(ctx context.Context, key string) (bool, error) {
	if lender, err := s.snaps.Lender(ctx, key); err != nil || lender == "" {
		return err == nil, err
	}
	damage := s.snaps.Usable(ctx, key)
	if damage == nil || !snapshotter.IsDamage(damage) {
		return damage == nil, damage
	}
	if err := s.snaps.Remove(ctx, key); err != nil && !errdefs.IsNotFound(err) {
		return false, fmt.Errorf("%w; it cannot be unpacked here as long as something stands on it: %w", damage, err)
	}
	return false, nil
}
