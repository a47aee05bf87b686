package image

import (
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layerkeep/layerkeep/snapshotter"
)

// An Image is what the store knows of an image it holds. It is also the form in
// which it is recorded.
type Image struct {
	// Name is the reference in its short form with a tag, "debian:12".
	Name string `json:"name"`
	// Target describes the manifest.
	Target ocispec.Descriptor `json:"target"`
	// Config describes the config.
	Config ocispec.Descriptor `json:"config"`
	// Platform is the one of the config.
	Platform ocispec.Platform `json:"platform"`
	// Layers are in the order of the manifest, base first.
	Layers []Layer `json:"layers"`
	// Snapshot is the key of the committed snapshot that shows the image's root
	// file system: the chainID of its layers. An image without layers has that
	// of the empty layer.
	Snapshot string `json:"snapshot"`
	// Imported is when the name was given to this image.
	Imported time.Time `json:"imported"`
	// Store is the ID of the additional store that the image is in, empty for this one.
	// It is not recorded.
	Store string `json:"-"`
}

// A Layer is one layer of an image.
type Layer struct {
	// Blob describes the blob as the manifest does.
	Blob ocispec.Descriptor `json:"blob"`
	// DiffID is the digest of the uncompressed layer.
	DiffID digest.Digest `json:"diffID"`
	// ChainID names the layer with all those below it, and its snapshot.
	ChainID digest.Digest `json:"chainID"`
}

// Size is the sum of the manifest, the config and the layer blobs in bytes, as
// they are stored; a blob that comes twice counts twice.
func (i Image) Size() int64 {
	n := i.Target.Size + i.Config.Size
	for _, l := range i.Layers {
		n += l.Blob.Size
	}
	return n
}

// Labels that the store puts on snapshots, and one that it reads.
const (
	// LabelLayer marks a committed snapshot that an import made, with the
	// chainID as value; only such snapshots are ever collected.
	LabelLayer = snapshotter.LabelChainID
	// LabelDiffID is the digest of the layer's uncompressed tar.
	LabelDiffID = "layerkeep.dev/layer.diffid"
	// LabelBlob is the digest of the layer's blob in the content directory.
	LabelBlob = "layerkeep.dev/layer.blob"
	// LabelRecipe is the digest of what was kept, in the content directory, to make the
	// layer's tar again, and LabelPacker how that becomes its blob; empty where nothing
	// known does that.
	LabelRecipe = "layerkeep.dev/layer.recipe"
	LabelPacker = "layerkeep.dev/layer.packer"
	// LabelBase, when a caller puts it on a snapshot it prepares on an image,
	// is the digest of that image's manifest. Export then takes the config of
	// that image, not of another one with the same layers, and the manifest and
	// config are kept as long as the snapshot.
	LabelBase = "layerkeep.dev/image.base"
	// LabelImporting marks the active snapshots of a running import.
	LabelImporting = "layerkeep.dev/image.importing"
)
