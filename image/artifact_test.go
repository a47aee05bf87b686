package image

import (
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/tar"
)

const (
	helmConfig = "application/vnd.cncf.helm.config.v1+json"
	helmLayer  = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
)

func TestWhatIsNoImageIsCalledByItsName(t *testing.T) {
	layer := func(mediaType string) []layerSpec {
		return []layerSpec{{raw: makeTar(t, file{name: "x", body: "y"}), packed: tar.Gzip, mediaType: mediaType}}
	}
	artifactType := func(s string) func(*ocispec.Manifest) {
		return func(m *ocispec.Manifest) { m.ArtifactType = s }
	}
	for name, c := range map[string]struct {
		spec imageSpec
		says string
	}{
		"a chart":               {imageSpec{configType: helmConfig, layers: layer(helmLayer)}, "a Helm chart (" + helmConfig + ")"},
		"a signature":           {imageSpec{layers: layer("application/vnd.dev.cosign.simplesigning.v1+json")}, "a signature of cosign"},
		"an artifact":           {imageSpec{configType: ocispec.MediaTypeEmptyJSON, manifest: artifactType("application/vnd.example.thing"), layers: layer("text/plain")}, `an artifact of type "application/vnd.example.thing"`},
		"an artifact of old":    {imageSpec{configType: "application/vnd.example.config", layers: layer("text/plain")}, `an artifact of type "application/vnd.example.config"`},
		"with an image's parts": {imageSpec{manifest: artifactType("application/spdx+json"), layers: layer("")}, "a list of components (SPDX)"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMaker(t)
			m.add(m.image(c.spec), "thing:1")
			_, err := m.only("")
			require.ErrorIs(t, err, ErrArtifact)
			require.ErrorIs(t, err, ErrInvalid)
			require.ErrorContains(t, err, "not a container image, but "+c.says)

			// An image beside it is found.
			target := m.add(m.image(oneLayer(t, "first")), "thing:1")
			img, err := m.only("")
			require.NoError(t, err)
			require.Equal(t, target.Digest, img.Target.Digest)
		})
	}
}

func TestALayoutWithoutAnyImageSaysWhatItHolds(t *testing.T) {
	m := newMaker(t)
	d := m.image(imageSpec{})
	d.ArtifactType = helmConfig
	m.add(d, "")
	m.add(m.on(m.image(imageSpec{}), "unknown", "unknown", ""), "")
	m.add(m.blob("application/vnd.oci.artifact.manifest.v1+json", []byte("{}")), "")
	_, err := m.only("")
	require.ErrorIs(t, err, ErrArtifact)
	require.ErrorContains(t, err, `a Helm chart (`+helmConfig+`), an artifact of type "application/vnd.oci.artifact.manifest.v1+json", an attestation`)
}
