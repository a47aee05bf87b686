package image

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// unnamedRepository is the repository for images whose names are lost. The tag
// is the start of the digest of the manifest.
const unnamedRepository = "recovered"

// unnamedTag is the number of digits in that tag.
const unnamedTag = 16

// errNamesLost explains the names of such images.
var errNamesLost = errors.New("the names of the images are lost, too")

// unnamed finds images by the manifests in the content directory. It is used
// when both the database and the copy of the list of images are lost. Only
// these two had the names of the images.
func (b *blobs) unnamed() (images []Image, err error) {
	err = b.walk(func(d digest.Digest, size int64) error {
		if size > maxDocument {
			return nil
		}
		img, err := b.imageOf(d, size)
		if err != nil {
			return nil //nolint:nilerr // another blob (a layer, a config, an index), or a damaged one
		}
		img.Name = fmt.Sprintf("%s:%.*s", unnamedRepository, unnamedTag, d.Encoded())
		img.Imported = time.Now().UTC().Truncate(time.Second)
		images = append(images, img)
		return nil
	})
	return images, err
}

// imageOf returns the image whose manifest is the blob d.
func (b *blobs) imageOf(d digest.Digest, size int64) (Image, error) {
	raw, err := b.read(d)
	if err != nil {
		return Image{}, err
	}
	var kind struct {
		MediaType string `json:"mediaType"`
	}
	if err := json.Unmarshal(raw, &kind); err != nil {
		return Image{}, err
	}
	if kind.MediaType == "" { // OCI allows this
		kind.MediaType = ocispec.MediaTypeImageManifest
	}
	m, err := parseManifest(raw, kind.MediaType)
	if err != nil {
		return Image{}, err
	}
	config, err := b.read(m.Config.Digest)
	if err != nil {
		return Image{}, err
	}
	c, err := parseConfig(config)
	if err != nil {
		return Image{}, err
	}
	return newImage(ocispec.Descriptor{MediaType: kind.MediaType, Digest: d, Size: size}, m, c)
}
