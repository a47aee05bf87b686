package image

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/tar"
)

// asDir writes an image as skopeo does for "dir:".
func (m *maker) asDir(top ocispec.Descriptor, nested ...ocispec.Descriptor) string {
	m.t.Helper()
	dir := filepath.Join(m.t.TempDir(), "skopeo")
	require.NoError(m.t, os.Mkdir(dir, 0o755))
	files := map[string][]byte{"version": []byte("Directory Transport Version: 1.1\n"), "manifest.json": m.files[blobName(top.Digest)]}
	for name, raw := range m.files {
		files[filepath.Base(name)] = raw
	}
	delete(files, top.Digest.Encoded())
	for _, d := range nested {
		delete(files, d.Digest.Encoded())
		files[d.Digest.Encoded()+".manifest.json"] = m.files[blobName(d.Digest)]
	}
	for name, raw := range files {
		require.NoError(m.t, os.WriteFile(filepath.Join(dir, name), raw, 0o644))
	}
	return dir
}

func TestADirectoryOfSkopeoIsImported(t *testing.T) {
	s := newStore(t, "vfs")
	for name, c := range map[string]struct{ manifest, config, layer string }{
		"OCI":            {},
		"OCI, untold":    {manifest: ocispec.MediaTypeImageManifest},
		"Docker":         {dockerManifest, dockerConfig, dockerLayer},
		"OCI of a layer": {layer: ocispec.MediaTypeImageLayer},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMaker(t)
			spec := imageSpec{layers: threeLayers(t, tar.None), manifestType: c.manifest, configType: c.config}
			for i := range spec.layers {
				spec.layers[i].mediaType = c.layer
			}
			spec.manifest = func(man *ocispec.Manifest) {
				if name == "OCI, untold" {
					man.MediaType = ""
				}
			}
			top := m.image(spec)
			for _, prefix := range []string{"", "dir:"} {
				img := s.mustImport(t, prefix+m.asDir(top), ImportOptions{})
				require.Equal(t, top.Digest, img.Target.Digest)
				require.Equal(t, "skopeo:latest", img.Name)
				requireProvides(t, s, img.Snapshot, threeLayersShow...)
				sent, _ := packed(t, prefix+m.asDir(top))
				img, err := s.Import(t.Context(), sent, ImportOptions{})
				require.NoError(t, err)
				require.Equal(t, top.Digest, img.Target.Digest)
			}
		})
	}
}

func TestADirectoryOfSkopeoMayHoldTheImageForSeveralPlatforms(t *testing.T) {
	s := newStore(t, "vfs")
	m := newMaker(t)
	arm := oneLayer(t, "second")
	arm.platform = *linux("arm64", "v8")
	both := []ocispec.Descriptor{m.on(m.image(oneLayer(t, "first")), "linux", "amd64", ""), m.on(m.image(arm), "linux", "arm64", "v8")}
	top := m.blob(ocispec.MediaTypeImageIndex, m.json(ocispec.Index{Manifests: both}))
	dir := m.asDir(top, both...)
	for i, platform := range []string{"linux/amd64", "linux/arm64"} {
		img := s.mustImport(t, dir, ImportOptions{Platform: platform})
		require.Equal(t, both[i].Digest, img.Target.Digest)
	}
}

func TestBadDirectoriesOfSkopeoAreRefused(t *testing.T) {
	s := newStore(t, "vfs")
	m := newMaker(t)
	top := m.image(imageSpec{layers: threeLayers(t, tar.None)})
	layer := m.manifestOf(top).Layers[0].Digest
	for name, c := range map[string]struct {
		spoil func(dir string) error
		is    error
	}{
		"no version": {func(dir string) error { return os.Remove(filepath.Join(dir, "version")) }, ErrInvalid},
		"another version": {func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "version"), []byte(dirVersion+"2.0\n"), 0o644)
		}, ErrInvalid},
		"no manifest":   {func(dir string) error { return os.Remove(filepath.Join(dir, "manifest.json")) }, ErrInvalid},
		"no JSON":       {func(dir string) error { return os.WriteFile(filepath.Join(dir, "manifest.json"), []byte("{"), 0o644) }, ErrInvalid},
		"no layer":      {func(dir string) error { return os.Remove(filepath.Join(dir, layer.Encoded())) }, ErrMissingBlob},
		"another layer": {func(dir string) error { return os.WriteFile(filepath.Join(dir, layer.Encoded()), []byte("x"), 0o644) }, ErrDigest},
	} {
		t.Run(name, func(t *testing.T) {
			dir := m.asDir(top)
			require.NoError(t, c.spoil(dir))
			_, err := s.importFrom("dir:"+dir, ImportOptions{})
			require.ErrorIs(t, err, c.is)
		})
	}
}

func TestWhatSkopeoItselfWritesIsImported(t *testing.T) {
	skopeo, err := exec.LookPath("skopeo")
	if err != nil {
		t.Skip("skopeo is missing")
	}
	s := newStore(t, "vfs")
	m := newMaker(t)
	target := m.add(m.image(imageSpec{layers: threeLayers(t, tar.Gzip)}), "1")
	dir := filepath.Join(t.TempDir(), "out")
	out, err := exec.Command(skopeo, "--insecure-policy", "copy", "oci:"+m.dir()+":1", "dir:"+dir).CombinedOutput()
	require.NoError(t, err, "%s", bytes.TrimSpace(out))
	img := s.mustImport(t, dir, ImportOptions{})
	require.Equal(t, target.Digest, img.Target.Digest)
}
