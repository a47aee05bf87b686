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

// skopeo writes a file "version" with this text and a number into a directory
// for "dir:", see containers-transports(5).
const (
	dirVersionFile = "version"
	dirVersion     = "Directory Transport Version: "
)

// isDirTransport reports whether a bag is a directory of skopeo.
func isDirTransport(b bag) bool {
	raw, err := readDocument(b, dirVersionFile)
	return err == nil && strings.HasPrefix(string(raw), dirVersion)
}

// dirTransportCandidates lists the images of a directory of skopeo. Its
// manifest.json is a manifest, or an index that has the image for several
// platforms. The images have no names.
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

// typeOf returns the media type of a manifest or index. A document of the OCI
// may omit it.
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

// blobPath returns the path of a blob in an OCI layout.
func blobPath(d ocispec.Descriptor) string {
	return path.Join(ocispec.ImageBlobsDir, string(d.Digest.Algorithm()), d.Digest.Encoded())
}

// A dirTransport shows a directory of skopeo as an OCI layout. In the
// directory, the name of a blob is the hex part of its digest. The manifests
// that an index lists have a suffix.
type dirTransport struct {
	bag
	// top is the blob path of manifest.json.
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
