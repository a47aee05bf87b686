package differ

import (
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layerkeep/layerkeep/tar"
)

// Docker's media types of layers, from the distribution project's "Image
// Manifest Version 2, Schema 2", and the image-spec's for layers that must not
// be pushed, which it has deprecated but images have.
const (
	dockerLayer        = "application/vnd.docker.image.rootfs.diff.tar"
	dockerForeignLayer = "application/vnd.docker.image.rootfs.foreign.diff.tar"
	nonDistributable   = "application/vnd.oci.image.layer.nondistributable.v1.tar"
)

// readable reports whether layers of the media type are applied. How they are
// compressed is told by their first bytes, as containerd's own applier does it.
func readable(mediaType string) bool {
	if _, ok := writable(mediaType); ok {
		return true
	}
	switch mediaType {
	case nonDistributable, nonDistributable + "+gzip", nonDistributable + "+zstd",
		dockerForeignLayer, dockerForeignLayer + ".gzip", dockerForeignLayer + ".zstd":
		return true
	}
	return false
}

// writable reports whether layers of the media type are made, and how they are
// compressed.
func writable(mediaType string) (tar.Compression, bool) {
	switch mediaType {
	case ocispec.MediaTypeImageLayer, dockerLayer:
		return tar.None, true
	case ocispec.MediaTypeImageLayerGzip, dockerLayer + ".gzip":
		return tar.Gzip, true
	case ocispec.MediaTypeImageLayerZstd, dockerLayer + ".zstd":
		return tar.Zstd, true
	}
	return tar.None, false
}
