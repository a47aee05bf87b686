package image

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layerkeep/layerkeep/driver"
)

// listCandidates lists the images of a source.
func listCandidates(ctx context.Context, kind Kind, b bag) ([]candidate, error) {
	b = &budgetBag{b, maxDocuments}
	switch kind {
	case DockerArchive:
		return dockerCandidates(ctx, b)
	case OCILayout, OCIArchive:
		return layoutCandidates(ctx, b)
	case SkopeoDir:
		return dirTransportCandidates(ctx, b)
	}
	layout := has(b, ocispec.ImageLayoutFile) || has(b, ocispec.ImageIndexFile)
	switch {
	case layout && has(b, dockerManifestFile):
		return bothCandidates(ctx, b)
	case layout:
		return layoutCandidates(ctx, b)
	case isDirTransport(b):
		return dirTransportCandidates(ctx, b)
	case has(b, dockerManifestFile), has(b, "repositories"):
		return dockerCandidates(ctx, b)
	}
	return nil, fmt.Errorf("%w: neither an OCI layout (%s) nor a Docker archive (%s)",
		ErrInvalid, ocispec.ImageIndexFile, dockerManifestFile)
}

// bothCandidates lists the images of an archive that is an OCI layout and also
// a Docker archive, as newer versions of Docker write it. It prefers the
// layout, because that keeps the digests. It uses manifest.json for images that
// the layout lacks, and for everything if no image of the layout is usable;
// some releases of Docker wrote such archives.
func bothCandidates(ctx context.Context, b bag) ([]candidate, error) {
	oci, err := layoutCandidates(ctx, b)
	if err != nil && !unusable(err) {
		return nil, err
	}
	docker, dockerErr := dockerCandidates(ctx, b)
	if dockerErr != nil && !unusable(dockerErr) {
		return nil, dockerErr
	}
	if dockerErr != nil || len(docker) == 0 { // another file that happens to have this name
		return oci, err
	}
	if err == nil && len(oci) == 0 {
		err = fmt.Errorf("%w: it lists no image", ErrInvalid)
	}
	if err == nil {
		oci, err = withMissing(oci, docker)
	}
	if unusable(err) {
		return noted(docker, fmt.Sprintf("%s cannot be used, so %s was: %v", ocispec.ImageIndexFile, dockerManifestFile, err)), nil
	}
	return oci, err
}

// unusable reports whether an error lies in the content of a source. An error
// of reading the source does not count, nor does an exceeded limit.
func unusable(err error) bool {
	return !bounded(err) && (errors.Is(err, ErrInvalid) || errors.Is(err, driver.ErrDigest) || errors.Is(err, driver.ErrInvalidLayer))
}

// withMissing adds to the images of a layout those that only manifest.json has.
// It compares their configs. It returns an error for which unusable is true if
// no image of the layout can be loaded.
func withMissing(oci, docker []candidate) ([]candidate, error) {
	known, broken := map[digest.Digest]bool{}, make([]bool, len(oci))
	var why error
	last := 0
	for i, c := range oci {
		seen, err := c.look()
		switch {
		case err != nil && !unusable(err):
			return nil, err
		case err != nil:
			broken[i], why = true, err
		default:
			known[seen.config] = true
		}
		for _, p := range c.places {
			last = max(last, p.number)
		}
	}
	if len(known) == 0 {
		return nil, why
	}
	missing, err := withoutConfigs(docker, known)
	if err != nil {
		return nil, err
	}
	var out []candidate
	for i, c := range oci {
		// If an image is broken in the layout and whole in manifest.json, the whole one
		// replaces it.
		replaced := broken[i] && slices.ContainsFunc(missing, func(m candidate) bool { return slices.ContainsFunc(m.refs, c.called) })
		if !replaced {
			out = append(out, c)
		}
	}
	for i := range missing {
		missing[i].places = []place{{last + 1 + i, missing[i].places[0].digest}}
	}
	return append(out, missing...), nil
}

// withoutConfigs returns the images whose configs are not in known.
func withoutConfigs(docker []candidate, known map[digest.Digest]bool) ([]candidate, error) {
	var out []candidate
	for _, c := range docker {
		seen, err := c.look()
		if err != nil && !unusable(err) {
			return nil, err
		}
		if err == nil && !known[seen.config] {
			out = append(out, c)
		}
	}
	return noted(out, fmt.Sprintf("this image is not in %s, but in %s", ocispec.ImageIndexFile, dockerManifestFile)), nil
}

// noted returns candidates that add a note to their image when they are loaded.
func noted(all []candidate, note string) []candidate {
	for i := range all {
		load := all[i].load
		all[i].load = func() (*loaded, error) {
			img, err := load()
			if img != nil {
				img.notes = append(img.notes, note)
			}
			return img, err
		}
	}
	return all
}
