package image

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// unnamedRepository is what images are called whose names are lost, with a part
// of the digest of their manifest as the tag.
const unnamedRepository = "recovered"

// unnamedTag is how many digits of the digest the tag has.
const unnamedTag = 16

// errNamesLost says why images are called like that.
var errNamesLost = errors.New("the names of the images are lost, too")

// unnamed finds images by their manifests, which the store keeps, where both
// the database and the copy of the list of images are lost. Their names stood
// there alone.
func (b *blobs) unnamed() (images []Image, err error) {
	err = b.walk(func(d digest.Digest, size int64) error {
		if size > maxDocument {
			return nil
		}
		img, err := b.imageOf(d, size)
		if err != nil {
			return nil //nolint:nilerr // a layer, a config, an index, or one that is damaged
		}
		img.Name = fmt.Sprintf("%s:%.*s", unnamedRepository, unnamedTag, d.Encoded())
		img.Imported = time.Now().UTC().Truncate(time.Second)
		images = append(images, img)
		return nil
	})
	return images, err
}

// imageOf returns the image whose manifest a blob is.
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
	if kind.MediaType == "" { // which OCI allows
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
