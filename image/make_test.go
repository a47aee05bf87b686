package image

import (
	stdtar "archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/tar"
)

// A file of a layer in a test. It is a directory if the name ends in a slash,
// and a link if there is a target.
type file struct {
	name, body, symlink, hardlink string
}

var epoch = time.Unix(1_700_000_000, 0)

// makeTar uses the standard library and not the tested code.
func makeTar(t testing.TB, files ...file) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := stdtar.NewWriter(&buf)
	for _, f := range files {
		h := &stdtar.Header{Name: f.name, Mode: 0o644, ModTime: epoch, Typeflag: stdtar.TypeReg, Size: int64(len(f.body))}
		switch {
		case f.symlink != "":
			h.Typeflag, h.Linkname = stdtar.TypeSymlink, f.symlink
		case f.hardlink != "":
			h.Typeflag, h.Linkname = stdtar.TypeLink, f.hardlink
		case f.name[len(f.name)-1] == '/':
			h.Typeflag, h.Mode = stdtar.TypeDir, 0o755
		}
		require.NoError(t, w.WriteHeader(h))
		_, err := w.Write([]byte(f.body))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return buf.Bytes()
}

func pack(t testing.TB, raw []byte, c tar.Compression) []byte {
	t.Helper()
	var buf bytes.Buffer
	switch c {
	case tar.None:
		return raw
	case tar.Zstd:
		w, err := zstd.NewWriter(&buf)
		require.NoError(t, err)
		_, err = w.Write(raw)
		require.NoError(t, err)
		require.NoError(t, w.Close())
	case tar.Gzip:
		w := gzip.NewWriter(&buf)
		_, err := w.Write(raw)
		require.NoError(t, err)
		require.NoError(t, w.Close())
	}
	return buf.Bytes()
}

// A maker builds an OCI layout in memory: files by name.
type maker struct {
	t     testing.TB
	files map[string][]byte
	index ocispec.Index
}

func newMaker(t testing.TB) *maker {
	return &maker{t: t, files: map[string][]byte{}, index: ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageIndex,
	}}
}

func (m *maker) json(v any) []byte {
	raw, err := json.Marshal(v)
	require.NoError(m.t, err)
	return raw
}

func blobName(d digest.Digest) string { return "blobs/" + string(d.Algorithm()) + "/" + d.Encoded() }

func (m *maker) blob(mediaType string, raw []byte) ocispec.Descriptor {
	d := describe(mediaType, raw)
	m.files[blobName(d.Digest)] = raw
	return d
}

// A layerSpec is a layer of a test's image.
type layerSpec struct {
	raw       []byte // the tar
	packed    tar.Compression
	blob      []byte // default: raw, compressed
	mediaType string // default: the media type for packed
}

// imageSpec is an image in a test. An empty field gets a valid default.
type imageSpec struct {
	layers       []layerSpec
	platform     ocispec.Platform
	manifestType string
	configType   string
	diffIDs      []digest.Digest
	config       func(*ocispec.Image)
	manifest     func(*ocispec.Manifest)
}

var hostPlatform = ocispec.Platform{OS: "linux", Architecture: "amd64"}

// image adds the blobs of an image. It returns the descriptor of the manifest,
// which is not in the index yet.
func (m *maker) image(s imageSpec) ocispec.Descriptor {
	config := ocispec.Image{Platform: s.platform, RootFS: ocispec.RootFS{Type: "layers", DiffIDs: s.diffIDs}}
	if config.OS == "" {
		config.Platform = hostPlatform
	}
	man := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: s.manifestType}
	if man.MediaType == "" {
		man.MediaType = ocispec.MediaTypeImageManifest
	}
	man.Layers = []ocispec.Descriptor{}
	for _, l := range s.layers {
		if s.diffIDs == nil {
			config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, digest.FromBytes(l.raw))
		}
		mt := l.mediaType
		if mt == "" {
			mt = ociLayerType(l.packed)
		}
		if l.blob == nil {
			l.blob = pack(m.t, l.raw, l.packed)
		}
		man.Layers = append(man.Layers, m.blob(mt, l.blob))
		config.History = append(config.History, ocispec.History{Created: &epoch, CreatedBy: "test"})
	}
	if s.config != nil {
		s.config(&config)
	}
	ct := s.configType
	if ct == "" {
		ct = ocispec.MediaTypeImageConfig
	}
	man.Config = m.blob(ct, m.json(config))
	if s.manifest != nil {
		s.manifest(&man)
	}
	return m.blob(man.MediaType, m.json(man))
}

// add puts a descriptor into the index under a reference.
func (m *maker) add(d ocispec.Descriptor, ref string) ocispec.Descriptor {
	if ref != "" {
		d.Annotations = map[string]string{ocispec.AnnotationRefName: ref}
	}
	m.index.Manifests = append(m.index.Manifests, d)
	return d
}

func (m *maker) on(d ocispec.Descriptor, os, arch, variant string) ocispec.Descriptor {
	d.Platform = &ocispec.Platform{OS: os, Architecture: arch, Variant: variant}
	return d
}

// all returns the files of the layout.
func (m *maker) all() map[string][]byte {
	out := maps.Clone(m.files)
	out["oci-layout"] = []byte(`{"imageLayoutVersion":"1.0.0"}`)
	out["index.json"] = m.json(m.index)
	return out
}

// dir writes the layout as a directory.
func (m *maker) dir() string {
	dir := filepath.Join(m.t.TempDir(), "layout")
	for name, raw := range m.all() {
		path := filepath.Join(dir, filepath.FromSlash(name))
		require.NoError(m.t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(m.t, os.WriteFile(path, raw, 0o644))
	}
	return dir
}

// archive returns the layout as a tar. The manifest comes last.
func (m *maker) archive() []byte { return tarOf(m.t, m.all()) }

func tarOf(t testing.TB, all map[string][]byte) []byte {
	var files []file
	for _, name := range slices.Sorted(maps.Keys(all)) {
		files = append(files, file{name: name, body: string(all[name])})
	}
	return makeTar(t, files...)
}

func writeFile(t testing.TB, name string, raw []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, raw, 0o644))
	return path
}
