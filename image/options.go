package image

import (
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layerkeep/layerkeep/driver"
)

// WholeImage is the layer number in a call of ImportOptions.Warn that belongs
// to no single layer.
const WholeImage = -1

// ImportOptions tune [Store.Import].
type ImportOptions struct {
	// Name is the name for the image, in place of the names that the source
	// has. See [ParseName] for its form.
	Name string
	// Image chooses an image from a source with several images. It is the
	// digest of a manifest, of an index or of a config, the first digits of
	// such a digest, or the number of the image in the source, from 1. A text
	// of up to five decimal digits is a number; "sha256:" in front makes it a
	// digest. Empty: the source must have one image.
	Image string
	// Platform chooses from a multi-platform image, in the form
	// "os/arch[/variant]". It must match exactly. Empty: the best match for
	// this host, or the only image, whatever its platform.
	Platform string
	// Progress is called during the import; nil: none.
	Progress Progress
	// Parallel is the number of layers to unpack at the same time, if the
	// driver can. 0 means GOMAXPROCS, 1 means one after the other.
	Parallel int
	// Limits bound what each layer may demand.
	Limits driver.Limits
	// SpoolBytes is the largest number of bytes that a stream or a compressed
	// archive may write to the disk before the import finds its manifest; 0
	// means 64 GiB.
	SpoolBytes int64
	// Recipes stores a recipe for each layer: what is needed, besides its
	// files, to make its blob again. A recipe holds the headers of the tar and
	// takes some percent of the blob. The import then reads and packs each
	// layer once more. It calls Warn for each layer whose blob cannot be made
	// again byte for byte.
	Recipes bool
	// Warn is called for everything that was skipped or understood differently.
	// layer is an index into Image.Layers, or WholeImage for the source. nil:
	// the driver logs warnings about layers. Several goroutines call it.
	Warn func(layer int, path, message string)
}

// wanted returns what the options and the reference of a source ask for.
func (o ImportOptions) wanted(ref string) (wanted, error) {
	choice, err := parseChoice(o.Image)
	if err != nil {
		return wanted{}, err
	}
	platform, err := parsePlatform(o.Platform)
	return wanted{ref, choice, platform}, err
}

// ExportOptions tune [Store.Export].
type ExportOptions struct {
	// Name is written as the reference of the image. Empty means the name of
	// the exported image, and no name for a snapshot.
	Name string
	// Created is the time of creation in a config that the export has to make.
	// Zero means SourceDateEpoch, and without that the time at which the
	// snapshot was committed, so that a second export gives the same bytes.
	Created time.Time
	// SourceDateEpoch, when not zero, is the latest time of a file in a layer
	// that the export has to make.
	SourceDateEpoch time.Time
	// Progress is called during the export; nil: none.
	Progress Progress
}

// Exported is what [Store.Export] wrote.
type Exported struct {
	// Name is the written reference, empty for none.
	Name string `json:"name,omitempty"`
	// Target describes the manifest.
	Target ocispec.Descriptor `json:"target"`
	// Config describes the config.
	Config ocispec.Descriptor `json:"config"`
	// Layers are in the order of the manifest, base first.
	Layers []Layer `json:"layers"`
	// Made is the number of layers that this call had to make.
	Made int `json:"made"`
	// Bytes is the length of the archive.
	Bytes int64 `json:"bytes"`
	// Replaced are the digests of known blobs that the store no longer has. The
	// export made their layers again, with the same files but other bytes, so
	// that the image has another digest too.
	Replaced []digest.Digest `json:"replaced"`
}

// Collected is what [Store.Collect] removed.
type Collected struct {
	// Snapshots are the keys of the removed committed snapshots.
	Snapshots []string `json:"snapshots"`
	// Blobs is the number of blobs removed from the content directory, and
	// Bytes their size.
	Blobs int   `json:"blobs"`
	Bytes int64 `json:"bytes"`
}

// Resolved is what a NAME of the command line means.
type Resolved struct {
	// Key is the committed snapshot.
	Key string
	// Image is set when the name belongs to an image.
	Image *Image
}
