package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Bounds of a tree of indexes, which is read whole.
const (
	maxIndexDepth = 8
	maxIndexes    = 256
	maxCandidates = 10_000
)

// The annotations that name an image in an index.json. The first holds a whole
// name, the second, as the image-spec leaves it open, a tag or a whole name.
const (
	annotationImageName = "io.containerd.image.name"
	annotationReference = "vnd.docker.reference.type"
)

// layout reads an OCI image layout (image-spec, image-layout.md).
type layout struct {
	ctx context.Context //nolint:containedctx // lives for one import
	bag bag
	// seen are the indexes that were read; one that comes twice adds nothing.
	seen map[digest.Digest]bool
	out  []candidate
	// unknown are the media types that were left out.
	unknown []string
}

// layoutCandidates lists the images of a layout, those of nested indexes
// included, attestations and other artifacts left out.
func layoutCandidates(ctx context.Context, b bag) ([]candidate, error) {
	raw, err := readDocument(b, ocispec.ImageIndexFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: no OCI layout: %s is missing", ErrInvalid, ocispec.ImageIndexFile)
	}
	if err != nil {
		return nil, err
	}
	l := &layout{ctx: ctx, bag: b, seen: map[digest.Digest]bool{}}
	index, err := parseIndex(raw, ocispec.MediaTypeImageIndex)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ocispec.ImageIndexFile, err)
	}
	if err := l.walk(index, nil, 1); err != nil {
		return nil, err
	}
	if len(l.out) == 0 && len(l.unknown) > 0 {
		return nil, fmt.Errorf("%w: it holds no image, only %s", ErrMediaType, list(l.unknown))
	}
	return l.out, nil
}

// walk adds the images of one index. refs are the names of that index, which
// its images share.
func (l *layout) walk(index ocispec.Index, refs []string, depth int) error {
	for _, d := range index.Manifests {
		if err := checkDescriptor(d); err != nil {
			return err
		}
		names := append(slices.Clone(refs), refsOf(d)...)
		switch {
		case isPlaceholder(d.Platform), d.Annotations[annotationReference] != "", isArtifact(d):
		case isManifestType(d.MediaType):
			if err := l.add(d, names); err != nil {
				return err
			}
		case isIndexType(d.MediaType):
			if err := l.descend(d, names, depth); err != nil {
				return err
			}
		default:
			// An unknown one "MUST NOT generate an error" (image-index.md); it
			// matters only when nothing else is there.
			l.unknown = append(l.unknown, fmt.Sprintf("%q", d.MediaType))
		}
	}
	return nil
}

// isArtifact reports what says of itself that it is no image. Some tools give
// images a type too, that of their config.
func isArtifact(d ocispec.Descriptor) bool {
	return d.ArtifactType != "" && !isConfigType(d.ArtifactType)
}

// refsOf returns the names that annotations give to a descriptor.
func refsOf(d ocispec.Descriptor) []string {
	if name := d.Annotations[annotationImageName]; name != "" {
		return []string{name}
	}
	if ref := d.Annotations[ocispec.AnnotationRefName]; ref != "" {
		return []string{ref}
	}
	return nil
}

// add adds an image, or its further names when it is known already.
func (l *layout) add(d ocispec.Descriptor, names []string) error {
	for i := range l.out {
		if l.out[i].id == d.Digest.String() {
			for _, n := range names {
				if !slices.Contains(l.out[i].refs, n) {
					l.out[i].refs = append(l.out[i].refs, n)
				}
			}
			return nil
		}
	}
	if len(l.out) >= maxCandidates {
		return fmt.Errorf("%w: an index of more than %d images", ErrInvalid, maxCandidates)
	}
	l.out = append(l.out, candidate{
		refs:     names,
		id:       d.Digest.String(),
		platform: d.Platform,
		load:     func() (*loaded, error) { return l.load(d) },
	})
	return nil
}

func (l *layout) descend(d ocispec.Descriptor, names []string, depth int) error {
	if l.seen[d.Digest] {
		return nil
	}
	l.seen[d.Digest] = true
	if depth >= maxIndexDepth || len(l.seen) > maxIndexes {
		return fmt.Errorf("%w: indexes nested more than %d deep, or more than %d of them", ErrInvalid, maxIndexDepth, maxIndexes)
	}
	raw, err := l.read(d)
	if err != nil {
		return fmt.Errorf("index: %w", err)
	}
	index, err := parseIndex(raw, d.MediaType)
	if err != nil {
		return fmt.Errorf("index %s: %w", d.Digest, err)
	}
	return l.walk(index, names, depth+1)
}

func (l *layout) load(d ocispec.Descriptor) (*loaded, error) {
	raw, err := l.read(d)
	if err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	m, err := parseManifest(raw, d.MediaType)
	if err != nil {
		return nil, fmt.Errorf("manifest %s: %w", d.Digest, err)
	}
	rawConfig, err := l.read(m.Config)
	if err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	config, err := parseConfig(rawConfig)
	if err != nil {
		return nil, fmt.Errorf("config %s: %w", m.Config.Digest, err)
	}
	img, err := newImage(d, m, config)
	if err != nil {
		return nil, err
	}
	return &loaded{img, raw, rawConfig, func(i int) (io.ReadCloser, error) { return l.blob(m.Layers[i]) }}, nil
}

// blob opens a blob; its content is yet to be verified.
func (l *layout) blob(d ocispec.Descriptor) (io.ReadCloser, error) {
	f, size, err := l.bag.open(path.Join(ocispec.ImageBlobsDir, string(d.Digest.Algorithm()), d.Digest.Encoded()))
	switch {
	case errors.Is(err, fs.ErrNotExist) && len(d.URLs) > 0:
		return nil, fmt.Errorf("%w: %s is to be had from %s alone, which is not done", ErrMissingBlob, d.Digest, list(slices.Clone(d.URLs)))
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w: %s", ErrMissingBlob, d.Digest)
	case err != nil:
		return nil, err
	case size != d.Size:
		f.Close()
		return nil, fmt.Errorf("%w: blob %s has %d bytes and should have %d", ErrDigest, d.Digest, size, d.Size)
	}
	return f, nil
}

// read reads and verifies a manifest, index or config.
func (l *layout) read(d ocispec.Descriptor) ([]byte, error) {
	if d.Size > maxDocument {
		return nil, fmt.Errorf("%w: %s has %d bytes, at most %d are read", ErrInvalid, d.Digest, d.Size, maxDocument)
	}
	f, err := l.blob(d)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(newVerifier(l.ctx, f, d))
}
