package image

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// document has the fields that distinguish manifests and indexes.
type document struct {
	SchemaVersion int             `json:"schemaVersion"`
	MediaType     string          `json:"mediaType"`
	Manifests     json.RawMessage `json:"manifests"`
	Layers        json.RawMessage `json:"layers"`
	Config        json.RawMessage `json:"config"`
	FSLayers      json.RawMessage `json:"fsLayers"`
}

// checkDocument returns an error for a document that can be read in two ways
// (CVE-2021-41190): its mediaType differs from that of the descriptor, or it
// has the fields of both a manifest and an index. It also refuses schema 1.
func checkDocument(raw []byte, mediaType string) error {
	var d document
	if err := parseJSON(raw, &d); err != nil {
		return fmt.Errorf("%s: %w", mediaType, err)
	}
	if len(d.MediaType) > maxText {
		return fmt.Errorf("%w: a media type of %d bytes", errBound, len(d.MediaType))
	}
	if err := checkList(d.Manifests, maxCandidates, "entries of an index"); err != nil {
		return err
	}
	if err := checkList(d.Layers, maxLayers, "layers"); err != nil {
		return err
	}
	if d.MediaType != "" && d.MediaType != mediaType {
		return fmt.Errorf("%w: a descriptor says %q, the content %q", ErrMediaType, mediaType, d.MediaType)
	}
	if d.FSLayers != nil || d.SchemaVersion == 1 {
		return fmt.Errorf("%w: a schema 1 manifest; convert the image with a newer tool", ErrMediaType)
	}
	if isIndexType(mediaType) && (d.Layers != nil || d.Config != nil) ||
		isManifestType(mediaType) && d.Manifests != nil {
		return fmt.Errorf("%w: content is both a manifest and an index", ErrMediaType)
	}
	return nil
}

func parseIndex(raw []byte, mediaType string) (ocispec.Index, error) {
	var index ocispec.Index
	if err := checkDocument(raw, mediaType); err != nil {
		return index, err
	}
	if err := parseJSON(raw, &index); err != nil {
		return index, fmt.Errorf("index: %w", err)
	}
	return index, nil
}

// parseManifest returns a manifest with usable descriptors: digests are
// well-formed, and the media types can be read. It returns ErrArtifact for a
// manifest that is not of an image.
func parseManifest(raw []byte, mediaType string) (ocispec.Manifest, error) {
	var m ocispec.Manifest
	if err := checkDocument(raw, mediaType); err != nil {
		return m, err
	}
	if err := parseJSON(raw, &m); err != nil {
		return m, fmt.Errorf("manifest: %w", err)
	}
	if err := checkArtifact(m); err != nil {
		return m, err
	}
	if err := checkDescriptor(m.Config); err != nil {
		return m, fmt.Errorf("config: %w", err)
	}
	for i, l := range m.Layers {
		if err := checkDescriptor(l); err != nil {
			return m, fmt.Errorf("layer %d: %w", i+1, err)
		}
		if _, ok := layerTypes[l.MediaType]; !ok {
			return m, fmt.Errorf("layer %d: %w: %q%s", i+1, ErrMediaType, l.MediaType, layerTypeHint(l.MediaType))
		}
	}
	return m, nil
}

func layerTypeHint(t string) string {
	if strings.HasSuffix(t, "+encrypted") {
		return " (encrypted layers have to be decrypted first)"
	}
	return " is not the media type of a layer"
}

// parseConfig parses a config. It returns an error for a Windows image.
func parseConfig(raw []byte) (ocispec.Image, error) {
	var c ocispec.Image
	if err := parseJSON(raw, &c); err != nil {
		return c, fmt.Errorf("config: %w", err)
	}
	if c.OS == "windows" {
		return c, fmt.Errorf("%w: a Windows image; its layers cannot be unpacked on Linux", ErrInvalid)
	}
	if len(c.RootFS.DiffIDs) > maxLayers {
		return c, fmt.Errorf("%w: config: more than %d diffIDs", errBound, maxLayers)
	}
	for i, d := range c.RootFS.DiffIDs {
		if len(d) > maxText {
			return c, fmt.Errorf("%w: diffID %d has %d bytes", errBound, i+1, len(d))
		}
		if err := d.Validate(); err != nil {
			return c, fmt.Errorf("%w: diffID %d %q: %w", ErrInvalid, i+1, d, err)
		}
	}
	return c, nil
}

// emptyDiffID is the digest of empty input, which is the empty layer. An image
// without layers shows the same tree as the empty layer, and shares its
// snapshot.
var emptyDiffID = digest.FromBytes(nil)

// newImage makes an Image from a manifest and its config, without a name.
func newImage(target ocispec.Descriptor, m ocispec.Manifest, c ocispec.Image) (Image, error) {
	diffIDs := c.RootFS.DiffIDs
	if len(diffIDs) != len(m.Layers) {
		return Image{}, fmt.Errorf("%w: the manifest has %d layers and the config %d diffIDs", ErrInvalid, len(m.Layers), len(diffIDs))
	}
	img := Image{
		Target:   ocispec.Descriptor{MediaType: target.MediaType, Digest: target.Digest, Size: target.Size},
		Config:   m.Config,
		Platform: c.Platform,
		Layers:   make([]Layer, 0, len(m.Layers)),
		Snapshot: emptyDiffID.String(),
	}
	// ChainIDs changes its argument, so it gets a copy.
	for i, chainID := range identity.ChainIDs(append([]digest.Digest(nil), diffIDs...)) {
		img.Layers = append(img.Layers, Layer{Blob: m.Layers[i], DiffID: diffIDs[i], ChainID: chainID})
		img.Snapshot = chainID.String()
	}
	return img, nil
}

// newManifest writes an OCI manifest. The same descriptors give the same bytes.
func newManifest(config ocispec.Descriptor, layers []ocispec.Descriptor, annotations map[string]string) ([]byte, ocispec.Descriptor, error) {
	if layers == nil {
		layers = []ocispec.Descriptor{} // "layers" must not be null
	}
	raw, err := json.Marshal(ocispec.Manifest{
		Versioned:   specs.Versioned{SchemaVersion: 2},
		MediaType:   ocispec.MediaTypeImageManifest,
		Config:      config,
		Layers:      layers,
		Annotations: annotations,
	})
	if err != nil {
		return nil, ocispec.Descriptor{}, fmt.Errorf("manifest: %w", err)
	}
	return raw, describe(ocispec.MediaTypeImageManifest, raw), nil
}

func describe(mediaType string, raw []byte) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
}
