package image

import (
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layerkeep/layerkeep/snapshotter"
)

// An Image is what the store knows about one of its images. The store records
// it in this form.
type Image struct {
	// Name is the reference in its short form with a tag, for example
	// "debian:12".
	Name string `json:"name"`
	// Target describes the manifest.
	Target ocispec.Descriptor `json:"target"`
	// Config describes the config.
	Config ocispec.Descriptor `json:"config"`
	// Platform is the platform in the config.
	Platform ocispec.Platform `json:"platform"`
	// Layers are in the order of the manifest, base first.
	Layers []Layer `json:"layers"`
	// Snapshot is the key of the committed snapshot with the root file system
	// of the image: the chainID of its layers. An image without layers has the
	// chainID of the empty layer.
	Snapshot string `json:"snapshot"`
	// Imported is the time at which the name was given to this image.
	Imported time.Time `json:"imported"`
	// Store is the ID of the additional store that has the image, empty for
	// this store. It is not recorded.
	Store string `json:"-"`
}

// A Layer is one layer of an image.
type Layer struct {
	// Blob describes the blob as the manifest does.
	Blob ocispec.Descriptor `json:"blob"`
	// DiffID is the digest of the uncompressed layer.
	DiffID digest.Digest `json:"diffID"`
	// ChainID identifies the layer together with all layers below it. It is the
	// name of the layer's snapshot.
	ChainID digest.Digest `json:"chainID"`
}

// Size returns the size of the manifest, the config and the layer blobs
// together, in bytes, as they are stored. A blob that occurs twice counts
// twice.
func (i Image) Size() int64 {
	n := i.Target.Size + i.Config.Size
	for _, l := range i.Layers {
		n += l.Blob.Size
	}
	return n
}

// Labels that the store puts on snapshots, and one that it reads.
const (
	// LabelLayer marks a committed snapshot that an import made. Its value is
	// the chainID. Only snapshots with this label are ever collected.
	LabelLayer = snapshotter.LabelChainID
	// LabelDiffID is the digest of the layer's uncompressed tar.
	LabelDiffID = "layerkeep.dev/layer.diffid"
	// LabelBlob is the digest of the layer's blob in the content directory.
	LabelBlob = "layerkeep.dev/layer.blob"
	// LabelRecipe is the digest of the recipe in the content directory: the
	// data that is needed, besides the files of the layer, to write its tar
	// again. LabelPacker names the compression that turns this tar into the
	// blob; it is empty when no known compression does.
	LabelRecipe = "layerkeep.dev/layer.recipe"
	LabelPacker = "layerkeep.dev/layer.packer"
	// LabelBase is for callers. On a snapshot that was prepared on an image,
	// its value is the digest of the image's manifest. Export then takes the
	// config of that image, and not of another image with the same layers. The
	// manifest and config are kept as long as the snapshot.
	LabelBase = "layerkeep.dev/image.base"
	// LabelImporting marks the active snapshots of a running import.
	LabelImporting = "layerkeep.dev/image.importing"
)
