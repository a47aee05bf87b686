package image

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/layerkeep/layerkeep/snapshotter"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

// minPrefix is the least number of digits that can be the start of a digest.
const minPrefix = 4

// Resolve finds the committed snapshot that a name means. It tries, in this
// order:
//
//   - an image with exactly this name;
//   - a snapshot with this key (a chainID is one);
//   - an image with this name and the tag "latest";
//   - a digest of a manifest or config, or a chainID, or at least its first
//     four digits, with or without "sha256:".
//
// Resolve returns ErrNotFound, ErrAmbiguous, or ErrNotCommitted for the key of
// an active snapshot or a view.
func (s *Store) Resolve(ctx context.Context, name string) (Resolved, error) {
	img, imgErr := s.named(name)
	if imgErr == nil && strings.Contains(lastComponent(name), ":") {
		return Resolved{img.Snapshot, &img}, nil
	}
	info, err := s.snaps.Stat(ctx, name)
	switch {
	case err == nil && info.Kind != snapshots.KindCommitted:
		return Resolved{}, fmt.Errorf("snapshot %q: %w", name, ErrNotCommitted)
	case err == nil:
		return Resolved{Key: name}, nil
	case !errdefs.IsNotFound(err) && !errdefs.IsInvalidArgument(err):
		return Resolved{}, err
	case imgErr == nil:
		return Resolved{img.Snapshot, &img}, nil
	}
	return s.resolveDigest(ctx, name)
}

func lastComponent(name string) string { return name[strings.LastIndexByte(name, '/')+1:] }

func (s *Store) resolveDigest(ctx context.Context, name string) (Resolved, error) {
	images, err := s.byDigest(ctx, name)
	if err != nil {
		return Resolved{}, err
	}
	keys := map[string]*Image{}
	var found []string
	for _, img := range images {
		keys[img.Snapshot] = &img
		found = append(found, img.Name)
	}
	chains, err := s.layersByPrefix(name)
	if err != nil {
		return Resolved{}, err
	}
	for _, key := range chains {
		if keys[key] == nil {
			keys[key] = nil
			found = append(found, key)
		}
	}
	switch len(keys) {
	case 0:
		return Resolved{}, fmt.Errorf("image or snapshot %q: %w", name, ErrNotFound)
	case 1:
		for key, img := range keys {
			return Resolved{key, img}, nil
		}
	}
	return Resolved{}, fmt.Errorf("%w: %q is the beginning of several: %s", ErrAmbiguous, name, list(found))
}

// digits returns the hex digits of s. ok is false if s cannot be a digest or
// the start of one.
func digits(s string) (string, bool) {
	s = strings.TrimPrefix(s, "sha256:")
	return s, len(s) >= minPrefix && strings.Trim(s, "0123456789abcdef") == ""
}

// byDigest returns the images whose manifest or config has a digest that starts
// with prefix.
func (s *Store) byDigest(ctx context.Context, prefix string) ([]Image, error) {
	hex, ok := digits(prefix)
	if !ok {
		return nil, nil
	}
	all, err := s.List(ctx)
	var found []Image
	for _, img := range all {
		if strings.HasPrefix(img.Target.Digest.Encoded(), hex) || strings.HasPrefix(img.Config.Digest.Encoded(), hex) {
			found = append(found, img)
		}
	}
	slices.SortStableFunc(found, func(a, b Image) int { return cmp.Compare(a.Store, b.Store) }) // the images of this store come first
	return found, err
}

// layersByPrefix returns the snapshots of layers whose chainID starts with
// prefix.
func (s *Store) layersByPrefix(prefix string) ([]string, error) {
	hex, ok := digits(prefix)
	if !ok {
		return nil, nil
	}
	var found []string
	for _, from := range append([]*Store{s}, s.others...) {
		err := from.snaps.DB().View(func(tx *meta.Tx) error {
			return tx.WalkSnapshotsFrom("sha256:"+hex, func(row meta.Snapshot) error {
				if isLayer(row) && digest.Digest(row.Name).Validate() == nil && !slices.Contains(found, row.Name) {
					found = append(found, row.Name)
				}
				return nil
			})
		})
		if err != nil && from == s {
			return nil, err
		}
	}
	return found, nil
}

// isLayer reports whether an import made the snapshot. A snapshot of an engine
// never counts, whatever labels the engine gave it.
func isLayer(row meta.Snapshot) bool {
	if scope, _ := snapshotter.ScopeOf(row.Name); scope != "" {
		return false
	}
	return row.Kind == meta.Committed && row.State == meta.Ready && row.Labels[LabelLayer] == row.Name
}

func listNames(images []Image) string {
	var names []string
	for _, img := range images {
		names = append(names, img.Name)
	}
	return list(names)
}
