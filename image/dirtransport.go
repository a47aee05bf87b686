package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// What marks the directories that skopeo writes for "dir:", see
// containers-transports(5): a file "version" with this and a number.
const (
	dirVersionFile = "version"
	dirVersion     = "Directory Transport Version: "
)

// isDirTransport reports whether a bag is such a directory.
func isDirTransport(b bag) bool {
	raw, err := readDocument(b, dirVersionFile)
	return err == nil && strings.HasPrefix(string(raw), dirVersion)
}

// dirTransportCandidates lists the images of such a directory: manifest.json is
// a manifest, or an index with the image for several platforms. It gives them
// no name.
func dirTransportCandidates(ctx context.Context, b bag) ([]candidate, error) {
	raw, err := readDocument(b, dirVersionFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: no directory of skopeo's dir: the file %q is missing", ErrInvalid, dirVersionFile)
	}
	if err != nil {
		return nil, err
	}
	version := strings.TrimSpace(strings.TrimPrefix(string(raw), dirVersion))
	if !strings.HasPrefix(string(raw), dirVersion+"1.") || len(version) > 10 {
		return nil, fmt.Errorf("%w: the file %q says no version 1.x of the directory transport", ErrInvalid, dirVersionFile)
	}
	raw, err = readDocument(b, dockerManifestFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s is missing", ErrInvalid, dockerManifestFile)
	}
	if err != nil {
		return nil, err
	}
	top := describe(typeOf(raw), raw)
	return layoutOf(ctx, &dirTransport{b, blobPath(top)}, ocispec.Index{Manifests: []ocispec.Descriptor{top}})
}

// typeOf returns the media type of a manifest or index; those of the OCI need
// not say it.
func typeOf(raw []byte) string {
	var d document
	switch err := parseJSON(raw, &d); {
	case err == nil && d.MediaType != "":
		return d.MediaType
	case err == nil && d.Manifests != nil:
		return ocispec.MediaTypeImageIndex
	default:
		return ocispec.MediaTypeImageManifest
	}
}

// blobPath is where a layout has a blob.
func blobPath(d ocispec.Descriptor) string {
	return path.Join(ocispec.ImageBlobsDir, string(d.Digest.Algorithm()), d.Digest.Encoded())
}

// A dirTransport shows such a directory as a layout: there, blobs are called by
// the hex part of their digests, and the manifests that an index lists have a
// suffix.
type dirTransport struct {
	bag
	// top is the blob that manifest.json is.
	top string
}

func (d *dirTransport) open(name string) (io.ReadCloser, int64, error) {
	if name == d.top {
		return d.bag.open(dockerManifestFile)
	}
	hex := path.Base(name)
	f, size, err := d.bag.open(hex)
	if errors.Is(err, fs.ErrNotExist) {
		f, size, err = d.bag.open(hex + ".manifest.json")
	}
	return f, size, err
}
