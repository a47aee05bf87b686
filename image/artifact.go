package image

import (
	"fmt"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// artifacts lists prefixes of media types that do not belong to container
// images, and says what they belong to. The media type may be that of the
// config, of a layer, or the artifactType.
var artifacts = []struct{ prefix, name string }{
	{"application/vnd.cncf.helm.", "a Helm chart"},
	{"application/vnd.dev.cosign.", "a signature of cosign"},
	{"application/vnd.dev.sigstore.", "a signature of cosign"},
	{"application/vnd.cncf.notary.", "a signature of notation"},
	{"application/vnd.in-toto", "an attestation"},
	{"application/spdx", "a list of components (SPDX)"},
	{"application/vnd.cyclonedx", "a list of components (CycloneDX)"},
	{"application/vnd.wasm.", "a WebAssembly module"},
	{"application/vnd.docker.plugin.", "a plugin of Docker"},
	{"application/vnd.docker.ai.model.", "a model for machine learning"},
	{"application/vnd.cncf.model.", "a model for machine learning"},
	{"application/vnd.cncf.flux.", "a source of Flux"},
}

// artifactName says what a media type belongs to.
func artifactName(mediaType string) string {
	for _, a := range artifacts {
		if strings.HasPrefix(mediaType, a.prefix) {
			return fmt.Sprintf("%s (%s)", a.name, mediaType)
		}
	}
	return fmt.Sprintf("an artifact of type %q", mediaType)
}

// checkArtifact returns ErrArtifact for a manifest that is not of an image.
func checkArtifact(m ocispec.Manifest) error {
	what := ""
	switch {
	case m.ArtifactType != "" && !isConfigType(m.ArtifactType):
		what = m.ArtifactType
	case !isConfigType(m.Config.MediaType):
		what = m.Config.MediaType
	default:
		// A signature of cosign has the config of an image.
		i := slices.IndexFunc(m.Layers, func(l ocispec.Descriptor) bool { return isArtifactLayer(l.MediaType) })
		if i < 0 {
			return nil
		}
		what = m.Layers[i].MediaType
	}
	return fmt.Errorf("%w, but %s", ErrArtifact, artifactName(what))
}

func isArtifactLayer(mediaType string) bool {
	return slices.ContainsFunc(artifacts, func(a struct{ prefix, name string }) bool { return strings.HasPrefix(mediaType, a.prefix) })
}
