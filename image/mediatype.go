package image

import (
	"bytes"
	"fmt"
	"io"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layerkeep/layerkeep/tar"
)

// Docker's media types, from the distribution project's "Image Manifest
// Version 2, Schema 2".
const (
	dockerManifest     = "application/vnd.docker.distribution.manifest.v2+json"
	dockerManifestList = "application/vnd.docker.distribution.manifest.list.v2+json"
	dockerConfig       = "application/vnd.docker.container.image.v1+json"
	dockerLayer        = "application/vnd.docker.image.rootfs.diff.tar"
	dockerForeignLayer = "application/vnd.docker.image.rootfs.foreign.diff.tar"
)

// layerType says what a media type means for a layer.
type layerType struct {
	packed tar.Compression
	// foreign: the layer is non-distributable. Such a type is read and never
	// written.
	foreign bool
	// oci is the media type that an export writes for the layer.
	oci string
}

// layerTypes has the media types of layers that can be read.
var layerTypes = func() map[string]layerType {
	m := make(map[string]layerType)
	for _, p := range []struct {
		packed              tar.Compression
		oci, suffix, docker string
	}{
		{tar.None, ocispec.MediaTypeImageLayer, "", ""},
		{tar.Gzip, ocispec.MediaTypeImageLayerGzip, "+gzip", ".gzip"},
		{tar.Zstd, ocispec.MediaTypeImageLayerZstd, "+zstd", ".zstd"},
	} {
		m[p.oci] = layerType{p.packed, false, p.oci}
		m[dockerLayer+p.docker] = layerType{p.packed, false, p.oci}
		m[nonDistributable+p.suffix] = layerType{p.packed, true, p.oci}
		m[dockerForeignLayer+p.docker] = layerType{p.packed, true, p.oci}
	}
	return m
}()

// nonDistributable is deprecated by the image-spec, but some images have it.
const nonDistributable = "application/vnd.oci.image.layer.nondistributable.v1.tar"

func isIndexType(t string) bool { return t == ocispec.MediaTypeImageIndex || t == dockerManifestList }

func isManifestType(t string) bool { return t == ocispec.MediaTypeImageManifest || t == dockerManifest }

func isConfigType(t string) bool { return t == ocispec.MediaTypeImageConfig || t == dockerConfig }

// ociLayerType returns the media type of a layer with this compression. XZ and
// Bzip2 have none, because such layers are decompressed first.
func ociLayerType(c tar.Compression) string {
	switch c {
	case tar.Gzip:
		return ocispec.MediaTypeImageLayerGzip
	case tar.Zstd:
		return ocispec.MediaTypeImageLayerZstd
	default:
		return ocispec.MediaTypeImageLayer
	}
}

// sniff finds the compression by the first bytes, and returns a reader of the
// whole stream.
func sniff(r io.Reader) (tar.Compression, io.Reader, error) {
	head := make([]byte, tar.DetectBytes)
	n, err := io.ReadFull(r, head)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return 0, nil, err
	}
	head = head[:n]
	return tar.DetectCompression(head), io.MultiReader(bytes.NewReader(head), r), nil
}

// checkPacked compares the compression that the media type says with the
// compression of the content.
func checkPacked(mediaType string, found tar.Compression) error {
	want := layerTypes[mediaType].packed
	if want != found {
		return fmt.Errorf("%w: media type %q says compression %s, the content is %s", ErrMediaType, mediaType, want, found)
	}
	return nil
}
