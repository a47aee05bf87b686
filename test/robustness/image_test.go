package robustness

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/internal/fstest"
)

// An ociImage is an image that is imported.
type ociImage struct {
	name, layout string
	manifest     digest.Digest
	chain        []string // the names of its snapshots, the lowest first
	blobs        []string // the digests of its layers
}

// The two images share their lowest layer.
func images(t testing.TB, dir string, random *rand.Rand) (first, second ociImage) {
	t.Helper()
	base := []fstest.Entry{
		fstest.Dir("bin"), fstest.File("bin/program", text(random, 60_000)).WithMode(0o755),
		fstest.Dir("etc"), fstest.File("etc/motd", "first\n"), fstest.File("etc/empty", ""),
		fstest.Dir("data"), fstest.File("data/gone", "goes\n"), fstest.Symlink("lib", "bin"),
		fstest.Link("data/again", "bin/program"), fstest.File("data/noted", "n").WithXattr("user.note", "kept"),
	}
	for i := range 20 {
		base = append(base, fstest.File(fmt.Sprintf("data/%02d", i), text(random, random.IntN(9000))))
	}
	top := []fstest.Entry{
		fstest.Whiteout("data/gone"), fstest.File("etc/motd", "second\n").WithOwner(12, 34),
		fstest.Dir("data/new"), fstest.File("data/new/file", text(random, 30_000)),
	}
	other := []fstest.Entry{fstest.Opaque("etc"), fstest.File("etc/other", text(random, 20_000))}
	first = makeImage(t, filepath.Join(dir, "first"), "first:1", base, top)
	second = makeImage(t, filepath.Join(dir, "second"), "second:1", base, other)
	return first, second
}

// text makes a body that does not compress.
func text(random *rand.Rand, length int) string {
	b := make([]byte, length)
	for i := range b {
		b[i] = byte(random.Uint32())
	}
	return string(b)
}

// makeImage writes an image as an OCI layout.
func makeImage(t testing.TB, layout, name string, layers ...[]fstest.Entry) ociImage {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Join(layout, "blobs/sha256"), 0o755))
	blob := func(mediaType string, body []byte) ocispec.Descriptor {
		d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(body), Size: int64(len(body))}
		require.NoError(t, os.WriteFile(filepath.Join(layout, "blobs/sha256", d.Digest.Encoded()), body, 0o644))
		return d
	}
	encode := func(v any) []byte {
		b, err := json.Marshal(v)
		require.NoError(t, err)
		return b
	}
	img := ociImage{name: name, layout: layout}
	manifest := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	config := ocispec.Image{
		Platform: ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH},
		RootFS:   ocispec.RootFS{Type: "layers"},
	}
	for i, entries := range layers {
		desc := blob(ocispec.MediaTypeImageLayer, fstest.Layer(t, entries...))
		manifest.Layers = append(manifest.Layers, desc)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, desc.Digest)
		img.blobs = append(img.blobs, desc.Digest.String())
		link := desc.Digest.String()
		if i > 0 {
			link = digest.FromString(img.chain[i-1] + " " + link).String()
		}
		img.chain = append(img.chain, link)
	}
	manifest.Config = blob(ocispec.MediaTypeImageConfig, encode(config))
	desc := blob(ocispec.MediaTypeImageManifest, encode(manifest))
	img.manifest = desc.Digest
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{desc}}
	for file, v := range map[string]any{ocispec.ImageLayoutFile: ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion}, ocispec.ImageIndexFile: index} {
		require.NoError(t, os.WriteFile(filepath.Join(layout, file), encode(v), 0o644))
	}
	return img
}

// randomLayer makes a layer that applies to anything.
func randomLayer(t testing.TB, random *rand.Rand) []byte {
	t.Helper()
	entries := []fstest.Entry{fstest.Dir("srv"), fstest.File("srv/one", text(random, 1+random.IntN(50_000)))}
	for i := range random.IntN(12) {
		entries = append(entries, fstest.File(fmt.Sprintf("srv/%d", random.IntN(100)+100*i), text(random, random.IntN(8000))))
	}
	if random.IntN(2) == 0 {
		entries = append(entries, fstest.Dir("etc"), fstest.Whiteout("etc/motd"), fstest.Symlink("srv/link", "one"), fstest.Link("srv/two", "srv/one"))
	}
	return fstest.Layer(t, entries...)
}
