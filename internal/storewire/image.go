package storewire

import (
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	storev1 "github.com/layerkeep/layerkeep/api/store/v1"
	"github.com/layerkeep/layerkeep/image"
)

// FromImage makes a message of an image; of its descriptors that has what names
// their content and no more.
func FromImage(i image.Image) *storev1.Image {
	return &storev1.Image{
		Name: i.Name, Target: fromDescriptor(i.Target), Config: fromDescriptor(i.Config),
		Platform: &storev1.Platform{Os: i.Platform.OS, Architecture: i.Platform.Architecture, Variant: i.Platform.Variant},
		Layers:   fromLayers(i.Layers), Snapshot: i.Snapshot, Imported: FromTime(i.Imported), Store: i.Store,
	}
}

// ToImage is the inverse of [FromImage].
func ToImage(i *storev1.Image) image.Image {
	p := i.GetPlatform()
	return image.Image{
		Name: i.GetName(), Target: toDescriptor(i.GetTarget()), Config: toDescriptor(i.GetConfig()),
		Platform: ocispec.Platform{OS: p.GetOs(), Architecture: p.GetArchitecture(), Variant: p.GetVariant()},
		Layers:   toLayers(i.GetLayers()), Snapshot: i.GetSnapshot(), Imported: ToTime(i.GetImported()), Store: i.GetStore(),
	}
}

func fromDescriptor(d ocispec.Descriptor) *storev1.Descriptor {
	return &storev1.Descriptor{MediaType: d.MediaType, Digest: d.Digest.String(), Size: d.Size}
}

func toDescriptor(d *storev1.Descriptor) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: d.GetMediaType(), Digest: digest.Digest(d.GetDigest()), Size: d.GetSize()}
}

func fromDigests(digests []digest.Digest) []string {
	var out []string
	for _, d := range digests {
		out = append(out, d.String())
	}
	return out
}

func toDigests(digests []string) []digest.Digest {
	out := []digest.Digest{}
	for _, d := range digests {
		out = append(out, digest.Digest(d))
	}
	return out
}

func fromLayers(layers []image.Layer) []*storev1.Layer {
	var out []*storev1.Layer
	for _, l := range layers {
		out = append(out, &storev1.Layer{Blob: fromDescriptor(l.Blob), DiffId: l.DiffID.String(), ChainId: l.ChainID.String()})
	}
	return out
}

func toLayers(layers []*storev1.Layer) []image.Layer {
	out := []image.Layer{}
	for _, l := range layers {
		out = append(out, image.Layer{
			Blob: toDescriptor(l.GetBlob()), DiffID: digest.Digest(l.GetDiffId()), ChainID: digest.Digest(l.GetChainId()),
		})
	}
	return out
}

// FromExported makes a message of what an export wrote.
func FromExported(e image.Exported) *storev1.Exported {
	return &storev1.Exported{
		Name: e.Name, Target: fromDescriptor(e.Target), Config: fromDescriptor(e.Config), Layers: fromLayers(e.Layers),
		Made: int64(e.Made), Bytes: e.Bytes, Replaced: fromDigests(e.Replaced),
	}
}

// ToExported is the inverse of [FromExported].
func ToExported(e *storev1.Exported) image.Exported {
	return image.Exported{
		Name: e.GetName(), Target: toDescriptor(e.GetTarget()), Config: toDescriptor(e.GetConfig()), Layers: toLayers(e.GetLayers()),
		Made: int(e.GetMade()), Bytes: e.GetBytes(), Replaced: toDigests(e.GetReplaced()),
	}
}
