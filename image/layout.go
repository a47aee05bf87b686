package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Annotations of descriptors in an index.json. The first has the whole name of
// an image. The second marks an attestation. A third,
// ocispec.AnnotationRefName, has a tag or a whole name; the image-spec leaves
// open which.
const (
	annotationImageName = "io.containerd.image.name"
	annotationReference = "vnd.docker.reference.type"
)

// layout reads an OCI image layout (image-spec, image-layout.md).
type layout struct {
	ctx context.Context //nolint:containedctx // lives for one import
	bag bag
	// seen has the indexes that were read, with the images in each. An index that
	// is listed again only adds names.
	seen map[digest.Digest][]digest.Digest
	out  []candidate
	// at maps the digest of a manifest to the index of the image in out.
	at map[digest.Digest]int
	// places has the entries of index.json that lead to images, by digest.
	places map[digest.Digest]place
	// entries counts the entries of all indexes. named counts how often an image
	// was found.
	entries, named int
	// other describes entries that are not images, for an error message.
	other []string
}

// layoutCandidates lists the images of a layout, including those in nested
// indexes. It leaves out attestations and other artifacts.
func layoutCandidates(ctx context.Context, b bag) ([]candidate, error) {
	raw, err := readDocument(b, ocispec.ImageIndexFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: no OCI layout: %s is missing", ErrInvalid, ocispec.ImageIndexFile)
	}
	if err != nil {
		return nil, err
	}
	index, err := parseIndex(raw, ocispec.MediaTypeImageIndex)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ocispec.ImageIndexFile, err)
	}
	return layoutOf(ctx, b, index)
}

// layoutOf lists the images of an index.
func layoutOf(ctx context.Context, b bag, index ocispec.Index) ([]candidate, error) {
	l := &layout{
		ctx: ctx, bag: b, seen: map[digest.Digest][]digest.Digest{},
		at: map[digest.Digest]int{}, places: map[digest.Digest]place{},
	}
	if _, err := l.walk(index, nil, nil, 1); err != nil {
		return nil, err
	}
	if len(l.out) == 0 && len(l.other) > 0 {
		return nil, fmt.Errorf("%w, but %s", ErrArtifact, list(l.other))
	}
	return l.out, nil
}

// walk adds the images of one index and returns their digests. refs has the
// names of this index, which all its images share. top is the entry of
// index.json that led to it, or nil for index.json itself.
func (l *layout) walk(index ocispec.Index, refs []string, top *ocispec.Descriptor, depth int) ([]digest.Digest, error) {
	var inside []digest.Digest
	for _, d := range index.Manifests {
		if err := l.ctx.Err(); err != nil {
			return nil, err
		}
		if err := checkDescriptor(d); err != nil {
			return nil, err
		}
		if l.entries++; l.entries > maxListedImages {
			return nil, fmt.Errorf("%w: indexes with more than %d entries", errBound, maxListedImages)
		}
		names, under := append(slices.Clone(refs), refsOf(d)...), top
		if under == nil {
			under = &d
		}
		switch {
		case isPlaceholder(d.Platform), d.Annotations[annotationReference] != "":
			l.leaveOut("an attestation")
		case isArtifact(d):
			l.leaveOut(artifactName(d.ArtifactType))
		case isManifestType(d.MediaType):
			if err := l.add(d, names, *under); err != nil {
				return nil, err
			}
			inside = append(inside, d.Digest)
		case isIndexType(d.MediaType):
			found, err := l.descend(d, names, *under, depth)
			if err != nil {
				return nil, err
			}
			inside = append(inside, found...)
		default:
			// An unknown media type "MUST NOT generate an error" (image-index.md). It
			// matters only if there are no images.
			l.leaveOut(artifactName(d.MediaType))
		}
	}
	return inside, nil
}

// leaveOut records an entry that is not an image.
func (l *layout) leaveOut(what string) {
	if len(l.other) <= maxListed && !slices.Contains(l.other, what) {
		l.other = append(l.other, what)
	}
}

// isArtifact reports whether a descriptor says that it is not an image. Some
// tools give images an artifactType too, that of their config.
func isArtifact(d ocispec.Descriptor) bool {
	return d.ArtifactType != "" && !isConfigType(d.ArtifactType)
}

// refsOf returns the names that the annotations of a descriptor give.
func refsOf(d ocispec.Descriptor) []string {
	if name := d.Annotations[annotationImageName]; name != "" && len(name) <= maxText {
		return []string{name}
	}
	if ref := d.Annotations[ocispec.AnnotationRefName]; ref != "" && len(ref) <= maxText {
		return []string{ref}
	}
	return nil
}

// add adds an image. If the image is already known, add only adds its new names
// and places.
func (l *layout) add(d ocispec.Descriptor, names []string, top ocispec.Descriptor) error {
	i, known := l.at[d.Digest]
	if !known {
		if len(l.out) >= maxCandidates {
			return fmt.Errorf("%w: more than %d images", errBound, maxCandidates)
		}
		i = len(l.out)
		l.at[d.Digest] = i
		l.out = append(l.out, candidate{
			manifest: d.Digest,
			platform: d.Platform,
			look:     func() (looked, error) { return l.look(d) },
			load:     func() (*loaded, error) { return l.load(d) },
		})
	}
	return l.name(i, names, top)
}

// name adds the names and places of an image that are not known yet.
func (l *layout) name(i int, names []string, top ocispec.Descriptor) error {
	if l.named++; l.named > maxListedImages {
		return fmt.Errorf("%w: indexes that list more than %d images", errBound, maxListedImages)
	}
	c := &l.out[i]
	at, ok := l.places[top.Digest]
	if !ok {
		at = place{len(l.places) + 1, top.Digest}
		l.places[top.Digest] = at
	}
	if !slices.Contains(c.places, at) {
		c.places = append(c.places, at)
	}
	for _, n := range names {
		if !slices.Contains(c.refs, n) {
			c.refs = append(c.refs, n)
		}
	}
	if len(c.refs) > maxNames || len(c.places) > maxNames {
		return fmt.Errorf("%w: %s has more than %d names", errBound, c.manifest, maxNames)
	}
	return nil
}

// descend adds the images of a nested index.
func (l *layout) descend(d ocispec.Descriptor, names []string, top ocispec.Descriptor, depth int) ([]digest.Digest, error) {
	if inside, ok := l.seen[d.Digest]; ok {
		for _, m := range inside {
			if err := l.name(l.at[m], names, top); err != nil {
				return nil, err
			}
		}
		return inside, nil
	}
	l.seen[d.Digest] = nil
	if depth >= maxIndexDepth || len(l.seen) > maxIndexes {
		return nil, fmt.Errorf("%w: indexes nested more than %d deep, or more than %d of them", errBound, maxIndexDepth, maxIndexes)
	}
	raw, err := l.read(d)
	if err != nil {
		return nil, fmt.Errorf("index: %w", err)
	}
	index, err := parseIndex(raw, d.MediaType)
	if err != nil {
		return nil, fmt.Errorf("index %s: %w", d.Digest, err)
	}
	inside, err := l.walk(index, names, &top, depth+1)
	if err != nil {
		return nil, err
	}
	slices.Sort(inside)
	l.seen[d.Digest] = slices.Compact(inside)
	return l.seen[d.Digest], nil
}

func (l *layout) look(d ocispec.Descriptor) (looked, error) {
	img, err := l.load(d)
	if err != nil {
		return looked{}, err
	}
	return looked{img.Platform, img.Config.Digest}, nil
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
	notes, err := l.arrange(&d, &m, config, &raw)
	if err != nil {
		return nil, fmt.Errorf("manifest %s: %w", d.Digest, err)
	}
	img, err := newImage(d, m, config)
	if err != nil {
		return nil, err
	}
	return &loaded{img, raw, rawConfig, func(i int) (io.ReadCloser, error) { return l.blob(m.Layers[i]) }, notes}, nil
}

// arrange replaces a manifest whose layers are in the wrong order.
func (l *layout) arrange(d *ocispec.Descriptor, m *ocispec.Manifest, config ocispec.Image, raw *[]byte) ([]string, error) {
	open := func(i int) (io.ReadCloser, error) {
		f, err := l.blob(m.Layers[i])
		if err != nil {
			return nil, err
		}
		return readCloser{newVerifier(l.ctx, f, m.Layers[i]), f}, nil
	}
	order, err := layerOrder(l.ctx, m.Layers, config.RootFS.DiffIDs, open)
	if err != nil || order == nil {
		return nil, err
	}
	was := d.Digest
	m.Layers = inOrder(m.Layers, order)
	for i := range m.Layers {
		m.Layers[i].MediaType = layerTypes[m.Layers[i].MediaType].oci
	}
	m.Config.MediaType = ocispec.MediaTypeImageConfig
	if *raw, *d, err = newManifest(m.Config, m.Layers, m.Annotations); err != nil {
		return nil, err
	}
	return []string{fmt.Sprintf("the manifest %s has its layers in another order than its config; they were put in order, which gives the manifest %s", was, d.Digest)}, nil
}

type readCloser struct {
	io.Reader
	io.Closer
}

// blob opens a blob. Its content is not verified yet.
func (l *layout) blob(d ocispec.Descriptor) (io.ReadCloser, error) {
	f, size, err := l.bag.open(blobPath(d))
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
	if err := spend(l.bag, d.Size); err != nil {
		return nil, err
	}
	f, err := l.blob(d)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(newVerifier(l.ctx, f, d))
}
