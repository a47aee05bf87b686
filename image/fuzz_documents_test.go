package image

import (
	"context"
	"encoding/json"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"
)

// FuzzDocuments reads any bytes as a manifest, an index and a config. No
// document is both a manifest and an index. A document that is accepted has
// only usable digests and media types, and makes an image with the layers of
// the manifest.
func FuzzDocuments(f *testing.F) {
	m := newMaker(f)
	d := m.image(imageSpec{layers: []layerSpec{{raw: makeTar(f)}, {raw: makeTar(f, file{name: "a", body: "b"})}}})
	m.add(d, "1")
	f.Add(m.json(m.index), []byte("{}"))
	for _, raw := range m.all() {
		f.Add(raw, []byte(`{"os":"windows"}`))
		for _, config := range m.all() {
			if json.Valid(raw) && json.Valid(config) {
				f.Add(raw, config)
			}
		}
	}
	f.Fuzz(func(t *testing.T, raw, rawConfig []byte) {
		config, configErr := parseConfig(rawConfig)
		for manifestType, indexType := range map[string]string{
			ocispec.MediaTypeImageManifest:                         ocispec.MediaTypeImageIndex,
			"application/vnd.docker.distribution.manifest.v2+json": "application/vnd.docker.distribution.manifest.list.v2+json",
		} {
			manifest, err := parseManifest(raw, manifestType)
			if err != nil {
				continue
			}
			if index, err := parseIndex(raw, indexType); err == nil {
				require.Empty(t, index.Manifests, "both a manifest and an index")
			}
			require.NoError(t, manifest.Config.Digest.Validate())
			for _, l := range manifest.Layers {
				require.NoError(t, l.Digest.Validate())
				require.GreaterOrEqual(t, l.Size, int64(0))
				require.Contains(t, layerTypes, l.MediaType)
			}
			if configErr != nil {
				continue
			}
			img, err := newImage(describe(manifestType, raw), manifest, config)
			require.Equal(t, len(manifest.Layers) == len(config.RootFS.DiffIDs), err == nil, "%v", err)
			if err == nil {
				require.Len(t, img.Layers, len(manifest.Layers))
				require.NotEmpty(t, img.Snapshot)
			}
		}
	})
}

// FuzzDockerManifest uses any bytes as the manifest.json of an archive.
// Everything that can be loaded from it is an image.
func FuzzDockerManifest(f *testing.F) {
	files := mapBag{}
	for _, e := range dockerSave(f, []string{"a:1"}, layerSpec{raw: makeTar(f)}) {
		files[e.name] = []byte(e.body)
	}
	f.Add(files["manifest.json"])
	f.Add([]byte(`[{"Config":"../x","Layers":["/etc/passwd"]},null]`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		files["manifest.json"] = raw
		all, err := dockerCandidates(context.Background(), files)
		if err != nil {
			return
		}
		for _, c := range all {
			img, err := c.load()
			if err != nil {
				continue
			}
			require.NotEmpty(t, img.Snapshot)
			require.NoError(t, img.Config.Digest.Validate())
			for _, l := range img.Layers {
				require.NoError(t, l.DiffID.Validate())
			}
		}
	})
}
