package image

import (
	stdgzip "compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/opencontainers/go-digest"

	"github.com/layerkeep/layerkeep/internal/recipe"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
	"github.com/layerkeep/layerkeep/tar"
)

// keepRecipes stores, for each layer of an image, the data that is needed to
// make its blob again, see ImportOptions.Recipes.
func (s *Store) keepRecipes(ctx context.Context, img Image, h *hold, warn func(layer int, path, message string)) error {
	for i, l := range img.Layers {
		packer, err := s.keepRecipe(ctx, l, h)
		why := ""
		switch {
		case err == nil && packer != nil:
			continue
		case err == nil:
			why = "its tar can be made again, and its blob cannot: no compressor that is known here gives its bytes"
		case errors.Is(err, recipe.ErrDiffers), errors.Is(err, recipe.ErrTooLong), errors.Is(err, errOtherTar):
			why = "neither its blob nor its tar can be made again: " + err.Error()
		default:
			return fmt.Errorf("recipe of layer %d of %d: %w", i+1, len(img.Layers), err)
		}
		if warn != nil {
			warn(i, "", why)
		}
	}
	return nil
}

// errOtherTar: the tar that a recipe gives has another digest.
var errOtherTar = errors.New("its recipe gives a different tar")

// keepRecipe stores the recipe of a layer. It returns the packer that turns the
// tar into the blob, or nil if there is none.
func (s *Store) keepRecipe(ctx context.Context, l Layer, h *hold) (*packer, error) {
	key := l.ChainID.String()
	row, err := s.rowOf(key)
	if err != nil || row.Store != "" {
		return &packers[0], err // no recipe is stored for a layer of another store
	}
	if s.blobs.whole(digest.Digest(row.Labels[LabelRecipe])) {
		return packerNamed(row.Labels[LabelPacker]), nil
	}
	made, err := s.blobs.spool()
	if err != nil {
		return nil, err
	}
	defer made.Close()
	sum, candidate, err := s.writeRecipe(made, l.Blob.Digest)
	if err != nil {
		return nil, err
	}
	p, err := s.tryRecipe(ctx, key, l, made, candidate)
	if err != nil {
		return nil, err
	}
	if err := s.pin(ctx, h, blobPin(sum.String()), func(context.Context) error { return s.blobs.remove(sum) }); err != nil {
		return nil, err
	}
	if err := s.blobs.addFrom(sum, made); err != nil {
		return nil, err
	}
	s.pins.made(blobPin(sum.String()))
	labels := map[string]string{LabelRecipe: sum.String(), LabelPacker: p.named()}
	_, err = s.snaps.Update(ctx, snapshots.Info{Name: key, Labels: labels}, "labels."+LabelRecipe, "labels."+LabelPacker)
	return p, err
}

func (s *Store) rowOf(key string) (row meta.Snapshot, err error) {
	err = s.snaps.DB().View(func(tx *meta.Tx) error {
		row, err = tx.Snapshot(key)
		return err
	})
	return row, err
}

// writeRecipe writes the compressed recipe of a layer. It returns the digest of
// the recipe, and the packer that may have written the blob.
func (s *Store) writeRecipe(w io.Writer, blob digest.Digest) (sum digest.Digest, _ *packer, err error) {
	in, err := s.blobs.open(blob)
	if err != nil {
		return "", nil, err
	}
	defer in.Close()
	head := make([]byte, headLength)
	n, err := in.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", nil, err
	}
	layer, c, err := tar.NewDecompressor(in)
	if err != nil {
		return "", nil, err
	}
	defer layer.Close()
	hash := digest.SHA256.Digester()
	packed := stdgzip.NewWriter(io.MultiWriter(w, hash.Hash()))
	if err := errors.Join(recipe.Write(packed, layer), packed.Close()); err != nil {
		return "", nil, err
	}
	return hash.Digest(), packerOf(c, head[:n]), nil
}

// tryRecipe makes the tar of a layer once. It returns the candidate if that
// packs the tar into exactly the blob, and nil if not. It returns errOtherTar
// if the tar is not that of the layer.
func (s *Store) tryRecipe(ctx context.Context, key string, l Layer, made io.ReadSeeker, candidate *packer) (*packer, error) {
	if _, err := made.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	content, blob := l.DiffID.Algorithm().Hash(), l.Blob.Digest.Algorithm().Hash()
	packer := candidate
	if packer == nil {
		packer = packerNamed("none") // the digest of the tar is needed even without a packer
	}
	packed, err := packer.open(blob)
	if err != nil {
		return nil, err
	}
	err = s.writeTar(ctx, key, made, io.MultiWriter(content, packed))
	if err := errors.Join(err, packed.Close()); err != nil {
		return nil, err
	}
	switch {
	case digest.NewDigest(l.DiffID.Algorithm(), content) != l.DiffID:
		return nil, errOtherTar
	case digest.NewDigest(l.Blob.Digest.Algorithm(), blob) != l.Blob.Digest:
		return nil, nil
	}
	return candidate, nil
}

// writeTar writes the tar that a compressed recipe and the layer of a snapshot
// give.
func (s *Store) writeTar(ctx context.Context, key string, raw io.Reader, w io.Writer) error {
	made, err := stdgzip.NewReader(raw)
	if err != nil {
		return fmt.Errorf("%w: %w", recipe.ErrDiffers, err)
	}
	view, err := s.snaps.OpenView(ctx, key)
	if err != nil {
		return err
	}
	return errors.Join(recipe.Tar(ctx, w, made, view), view.Close())
}

// tarFrom writes the tar of the layer of a snapshot, from the recipe that its
// labels name. kept is false if there is no recipe.
func (s *Store) tarFrom(ctx context.Context, key string, labels map[string]string, w io.Writer) (kept bool, err error) {
	raw, err := s.blobs.open(digest.Digest(labels[LabelRecipe]))
	if errors.Is(err, ErrNotFound) || labels[LabelRecipe] == "" {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer raw.Close()
	return true, s.writeTar(ctx, key, raw, w)
}
