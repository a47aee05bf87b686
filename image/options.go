package image

import (
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layerkeep/layerkeep/driver"
)

// WholeImage stands for no layer in particular in a call of ImportOptions.Warn.
const WholeImage = -1

// ImportOptions tune [Store.Import].
type ImportOptions struct {
	// Name is given to the image, in place of the names that the source has for
	// it. See [ParseName] for its form.
	Name string
	// Image chooses from a source that holds several images: the digest of a
	// manifest, of an index or of a config, the first digits of one, or the number of
	// the image among those of the source, from 1. Up to five decimal digits are a
	// number; "sha256:" in front makes them a digest. Empty: there has to be one.
	Image string
	// Platform chooses from a multi-platform image, as "os/arch[/variant]", and
	// must then be met exactly. Empty: the best match for this host, or the only
	// image that there is, whatever its platform.
	Platform string
	// Progress is told how it goes; nil: nobody.
	Progress Progress
	// Parallel is how many layers are unpacked at a time where the driver can;
	// 0 means GOMAXPROCS, 1 one after another.
	Parallel int
	// Limits bound what one layer may ask for.
	Limits driver.Limits
	// SpoolBytes bounds what a stream or a compressed archive may put on disk
	// before its manifest is seen; 0 means 64 GiB.
	SpoolBytes int64
	// Recipes keeps beside each layer what it takes to make its blob again from its files:
	// the headers of its tar, some percent of the blob. That reads each layer once more, and
	// packs it. Warn is told of layers whose blobs cannot be made again byte for byte.
	Recipes bool
	// Warn is told of what was skipped or reinterpreted in a layer, an index as
	// in Image.Layers, or, with WholeImage as the layer, in the source; nil: the
	// driver logs what concerns layers. Called from several goroutines.
	Warn func(layer int, path, message string)
}

// wanted is what the options and the reference of a source ask for.
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
	// Name is written as the image's reference. Empty: the name of the image
	// that is exported, none for a snapshot.
	Name string
	// Created is written as the time of creation of what has to be made. Zero:
	// SourceDateEpoch, or without that the time at which the snapshot was committed, so
	// that a second export gives the same bytes.
	Created time.Time
	// SourceDateEpoch, when not zero, is the latest time of a file in a layer that has to
	// be made.
	SourceDateEpoch time.Time
	// Progress is told how it goes; nil: nobody.
	Progress Progress
}

// Exported says what [Store.Export] wrote.
type Exported struct {
	// Name is the reference written, empty for none.
	Name string `json:"name,omitempty"`
	// Target describes the manifest.
	Target ocispec.Descriptor `json:"target"`
	// Config describes the config.
	Config ocispec.Descriptor `json:"config"`
	// Layers are in the order of the manifest, base first.
	Layers []Layer `json:"layers"`
	// Made is how many of the layers were made by this call.
	Made int `json:"made"`
	// Bytes is the length of the archive.
	Bytes int64 `json:"bytes"`
	// Replaced are the digests of blobs that were known of layers and that the store has
	// no more. Their layers were made anew, with the same files and other bytes, so that
	// the digest of the image is another one too.
	Replaced []digest.Digest `json:"replaced"`
}

// Collected says what a [Store.Collect] removed.
type Collected struct {
	// Snapshots are the keys of committed snapshots.
	Snapshots []string `json:"snapshots"`
	// Blobs and Bytes count what went from the content directory.
	Blobs int   `json:"blobs"`
	Bytes int64 `json:"bytes"`
}

// Resolved is what a NAME of the command line means.
type Resolved struct {
	// Key is the committed snapshot.
	Key string
	// Image is set when the name meant an image.
	Image *Image
}
