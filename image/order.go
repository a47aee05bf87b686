package image

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/tar"
)

// layerOrder returns the layers of a manifest in the order in which the config
// lists their diffIDs, as indexes into layers. It returns nil if nothing shows
// that the order is wrong. Docker 25.0.0 wrote manifests with the right layers
// in a wrong order. The error shows only if a layer is a plain tar, because its
// digest is its diffID. Only then does layerOrder read compressed layers, to
// compute their diffIDs. It returns driver.ErrDigest for layers that are not
// those of the config.
func layerOrder(ctx context.Context, layers []ocispec.Descriptor, diffIDs []digest.Digest, open func(i int) (io.ReadCloser, error)) ([]int, error) {
	if len(layers) != len(diffIDs) || !slices.ContainsFunc(seq(len(layers)), func(i int) bool { return misplaced(layers[i], diffIDs[i]) }) {
		return nil, nil
	}
	found := map[digest.Digest][]int{}
	for i, l := range layers {
		id := l.Digest
		if isPlain(l) {
			if err := checkPlain(i, l, open); err != nil {
				return nil, fmt.Errorf("layer %d of %d: %w", i+1, len(layers), err)
			}
		} else {
			var err error
			if id, err = diffIDOf(ctx, i, open); err != nil {
				return nil, fmt.Errorf("layer %d of %d: %w", i+1, len(layers), err)
			}
		}
		found[id] = append(found[id], i)
	}
	order := make([]int, len(diffIDs))
	for i, id := range diffIDs {
		if len(found[id]) == 0 {
			return nil, fmt.Errorf("%w: the config wants %s as layer %d, and the manifest has no such layer", driver.ErrDigest, id, i+1)
		}
		order[i], found[id] = found[id][0], found[id][1:]
	}
	return order, nil
}

func seq(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

func isPlain(l ocispec.Descriptor) bool {
	t, ok := layerTypes[l.MediaType]
	return ok && t.packed == tar.None
}

// misplaced reports whether a plain layer cannot have this diffID.
func misplaced(l ocispec.Descriptor, diffID digest.Digest) bool {
	return isPlain(l) && l.Digest.Algorithm() == diffID.Algorithm() && l.Digest != diffID
}

// checkPlain returns ErrMediaType for a layer that has the media type of a
// plain tar and is compressed. Its digest is then not a diffID.
func checkPlain(i int, l ocispec.Descriptor, open func(i int) (io.ReadCloser, error)) error {
	f, err := open(i)
	if err != nil {
		return err
	}
	defer f.Close()
	packed, _, err := sniff(f)
	if err != nil {
		return err
	}
	return checkPacked(l.MediaType, packed)
}

// diffIDOf reads a layer and returns its diffID.
func diffIDOf(ctx context.Context, i int, open func(i int) (io.ReadCloser, error)) (digest.Digest, error) {
	f, err := open(i)
	if err != nil {
		return "", err
	}
	defer f.Close()
	r, _, err := tar.NewDecompressor(f)
	if err != nil {
		return "", err
	}
	defer r.Close()
	hash := digest.SHA256.Digester()
	if _, err := copyContext(ctx, hash.Hash(), r); err != nil {
		return "", fmt.Errorf("%w: %w", driver.ErrInvalidLayer, err)
	}
	return hash.Digest(), nil
}

// inOrder returns the elements of all in an order that layerOrder returned.
func inOrder[T any](all []T, order []int) []T {
	out := make([]T, len(order))
	for i, at := range order {
		out[i] = all[at]
	}
	return out
}
