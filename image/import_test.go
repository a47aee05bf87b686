package image

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	gglayout "github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/tar"
)

// threeLayers has a base layer, a layer that deletes and replaces, and a layer
// that adds.
func threeLayers(t testing.TB, packed ...tar.Compression) []layerSpec {
	layers := []layerSpec{
		{raw: makeTar(t, file{name: "etc/"}, file{name: "etc/a", body: "1"}, file{name: "etc/b", body: "2"}, file{name: "usr/lib/x", body: "x"})},
		{raw: makeTar(t, file{name: "etc/.wh.a"}, file{name: "etc/b", body: "22"}, file{name: "lib", symlink: "usr/lib"})},
		{raw: makeTar(t, file{name: "opt/c", body: "3"})},
	}
	for i := range layers {
		layers[i].packed = packed[i%len(packed)]
	}
	return layers
}

var threeLayersShow = []string{"etc", "etc/b", "lib", "opt", "opt/c", "usr", "usr/lib", "usr/lib/x"}

func TestEveryFormatAndCompressionGivesTheSameTree(t *testing.T) {
	onEachDriver(t, func(t *testing.T, s *Store) {
		var want []string
		for _, packed := range [][]tar.Compression{{tar.None}, {tar.Gzip}, {tar.Zstd}, {tar.Gzip, tar.None, tar.Zstd}} {
			layers := threeLayers(t, packed...)
			m := newMaker(t)
			target := m.add(m.image(imageSpec{layers: layers}), "1")
			docker := makeTar(t, dockerSave(t, []string{"app:1"}, layers...)...)
			sources := map[string]string{
				"layout":              m.dir(),
				"layout, said":        "oci:" + m.dir() + ":1",
				"archive":             writeFile(t, "app.tar", m.archive()),
				"archive, said":       "oci-archive:" + writeFile(t, "app.tar", m.archive()) + ":1",
				"archive, gzip":       writeFile(t, "app.tar.gz", pack(t, m.archive(), tar.Gzip)),
				"archive, zstd":       "oci-archive:" + writeFile(t, "app.tar.zst", pack(t, m.archive(), tar.Zstd)),
				"docker":              writeFile(t, "docker.tar", docker),
				"docker, gzip, said":  "docker-archive:" + writeFile(t, "docker.tar.gz", pack(t, docker, tar.Gzip)) + ":app:1",
				"both forms in a tar": writeFile(t, "new.tar", tarOf(t, withDockerManifest(t, m))),
				"docker, newer form":  "docker-archive:" + writeFile(t, "new.tar", tarOf(t, withDockerManifest(t, m))),
			}
			for name, source := range sources {
				img := s.mustImport(t, source, ImportOptions{Name: "app"})
				if want == nil {
					requireProvides(t, s, img.Snapshot, threeLayersShow...)
					want = s.tree(t, img.Snapshot)
				}
				require.Equal(t, want, s.tree(t, img.Snapshot), name)
				if !strings.HasPrefix(name, "docker") { // Docker archives have no manifest with a digest
					require.Equal(t, target.Digest, img.Target.Digest, name)
				}
			}
		}
		s.requireNoLeak(t)
	})
}

func TestLazilyPulledFormatsArePlainGzipAndZstd(t *testing.T) {
	raw := makeTar(t, file{name: "a", body: "1"}, file{name: "b", body: "2"})
	half := len(raw) / 2
	gz := append(pack(t, raw[:half], tar.Gzip), pack(t, raw[half:], tar.Gzip)...) // eStargz: one member for each file
	gz = append(gz, pack(t, nil, tar.Gzip)...)                                    // its footer
	skippable := []byte{0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 'm', 'e', 't', 'a'}
	zst := append(slices.Clone(skippable), pack(t, raw[:half], tar.Zstd)...) // zstd:chunked
	zst = append(append(zst, pack(t, raw[half:], tar.Zstd)...), skippable...)
	onEachDriver(t, func(t *testing.T, s *Store) {
		for mediaType, blob := range map[string][]byte{ocispec.MediaTypeImageLayerGzip: gz, ocispec.MediaTypeImageLayerZstd: zst} {
			m := newMaker(t)
			m.add(m.image(imageSpec{layers: []layerSpec{{raw: blob, mediaType: mediaType}}, diffIDs: []digest.Digest{digest.FromBytes(raw)}}), "")
			img := s.mustImport(t, m.dir(), ImportOptions{Name: "lazy"})
			requireProvides(t, s, img.Snapshot, "a", "b")
			require.Equal(t, digest.FromBytes(blob), img.Layers[0].Blob.Digest)
		}
	})
}

// withDockerManifest is the newer form of `docker save`.
func withDockerManifest(t testing.TB, m *maker) map[string][]byte {
	img, err := m.only("")
	require.NoError(t, err)
	entry := dockerEntry{Config: blobName(img.Config.Digest), RepoTags: []string{"app:1"}}
	for _, l := range img.Layers {
		entry.Layers = append(entry.Layers, blobName(l.Blob.Digest))
	}
	all := m.all()
	all["manifest.json"] = m.json([]dockerEntry{entry})
	return all
}

func TestArchivesComeFromAStream(t *testing.T) {
	s := newStore(t, "vfs")
	m := newMaker(t)
	m.add(m.image(imageSpec{layers: threeLayers(t, tar.Gzip)}), "docker.io/library/app:1")
	docker := makeTar(t, dockerSave(t, []string{"app:1"}, threeLayers(t, tar.None)...)...)
	for source, raw := range map[string][]byte{
		"-": m.archive(), "oci-archive:-": pack(t, m.archive(), tar.Gzip), "docker-archive:-": docker, "oci-archive:-:app:1": m.archive(),
	} {
		src, err := ParseSource(source, &slowReader{raw})
		require.NoError(t, err)
		img, err := s.Import(context.Background(), src, ImportOptions{})
		require.NoError(t, err, source)
		require.Equal(t, "app:1", img.Name)
		requireProvides(t, s, img.Snapshot, threeLayersShow...)
	}
	require.Empty(t, s.contents(t).Ingest)
}

func TestAStreamIsBoundedAndInterruptible(t *testing.T) {
	s := newStore(t, "vfs")
	big := pack(t, makeTar(t, file{name: "zeros", body: string(make([]byte, 1<<20))}), tar.Gzip)
	src := Source{Path: "-", Reader: bytes.NewReader(big)}
	_, err := s.Import(context.Background(), src, ImportOptions{SpoolBytes: 1 << 16})
	require.ErrorIs(t, err, ErrInvalid)
	require.ErrorContains(t, err, "more than 65536 bytes")

	r, w := io.Pipe() // a pipe without a writer
	defer w.Close()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = s.Import(ctx, Source{Path: "-", Reader: r}, ImportOptions{})
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, contents{}, s.contents(t))
}

func TestRandomImagesFromAnotherToolAreRead(t *testing.T) {
	base, err := random.Image(3000, 4)
	require.NoError(t, err)
	extra, err := random.Layer(500, "application/vnd.oci.image.layer.v1.tar+gzip")
	require.NoError(t, err)
	img, err := mutate.AppendLayers(base, extra)
	require.NoError(t, err)
	idx, err := random.Index(100, 2, 3)
	require.NoError(t, err)
	dir := t.TempDir()
	path, err := gglayout.Write(filepath.Join(dir, "layout"), empty.Index)
	require.NoError(t, err)
	require.NoError(t, path.AppendImage(img, gglayout.WithAnnotations(map[string]string{ocispec.AnnotationRefName: "one"})))
	require.NoError(t, path.AppendIndex(idx, gglayout.WithAnnotations(map[string]string{ocispec.AnnotationRefName: "many"})))
	tag, err := name.NewTag("example.org/random:v1")
	require.NoError(t, err)
	archive := filepath.Join(dir, "random.tar")
	require.NoError(t, tarball.WriteToFile(archive, tag, img))

	onEachDriver(t, func(t *testing.T, s *Store) {
		got := s.mustImport(t, "oci:"+string(path)+":one", ImportOptions{})
		require.Equal(t, "layout:one", got.Name)
		requireSameImage(t, img, got)
		again := s.mustImport(t, archive, ImportOptions{})
		require.Equal(t, "example.org/random:v1", again.Name)
		require.Equal(t, got.Snapshot, again.Snapshot)
		_, err := s.importFrom("oci:"+string(path), ImportOptions{})
		require.ErrorIs(t, err, ErrAmbiguous)
		_, err = s.importFrom("oci:"+string(path)+":many", ImportOptions{Platform: "linux/amd64"})
		require.ErrorIs(t, err, ErrNoMatch)
	})
}

func requireSameImage(t *testing.T, want ggcr.Image, got Image) {
	t.Helper()
	d, err := want.Digest()
	require.NoError(t, err)
	require.Equal(t, d.String(), got.Target.Digest.String())
	config, err := want.ConfigFile()
	require.NoError(t, err)
	require.Len(t, got.Layers, len(config.RootFS.DiffIDs))
	for i, id := range config.RootFS.DiffIDs {
		require.Equal(t, id.String(), got.Layers[i].DiffID.String())
	}
}

// The blob of an existing layer is read, to check that it is not damaged. The
// source is not read.
func TestALayerThatIsThereIsNotUnpackedAgain(t *testing.T) {
	onEachDriver(t, func(t *testing.T, s *Store) {
		layers := threeLayers(t, tar.Gzip)
		m := newMaker(t)
		m.add(m.image(imageSpec{layers: layers[:2]}), "")
		s.mustImport(t, m.dir(), ImportOptions{Name: "base"})

		m = newMaker(t)
		m.add(m.image(imageSpec{layers: layers}), "")
		for i := range 2 { // the source need not have the blobs
			delete(m.files, blobName(digest.FromBytes(pack(t, layers[i].raw, tar.Gzip))))
		}
		var mu sync.Mutex
		got := map[int][]LayerState{}
		var read [3]atomic.Int64
		p := &states{
			on:     func(i int, st LayerState) { mu.Lock(); defer mu.Unlock(); got[i] = append(got[i], st) },
			onRead: func(i int, n int64) { read[i].Add(n) },
		}
		img := s.mustImport(t, m.dir(), ImportOptions{Name: "app", Progress: p})
		require.Equal(t, map[int][]LayerState{0: {LayerExists}, 1: {LayerExists}, 2: {LayerStarted, LayerDone}}, got)
		for i, l := range img.Layers {
			require.Equal(t, l.Blob.Size, read[i].Load())
		}
		require.Len(t, p.begun, 3)
		requireProvides(t, s, img.Snapshot, threeLayersShow...)
	})
}

func TestTheSameLayersPackedOtherwiseKeepTheirBlobs(t *testing.T) {
	s := newStore(t, "vfs")
	for _, c := range []tar.Compression{tar.Gzip, tar.Zstd} {
		m := newMaker(t)
		m.add(m.image(imageSpec{layers: threeLayers(t, c)}), "")
		img := s.mustImport(t, m.dir(), ImportOptions{Name: "app"})
		for _, l := range img.Layers {
			_, ok, err := s.blobs.has(l.Blob.Digest)
			require.NoError(t, err)
			require.True(t, ok)
		}
	}
	// The same snapshots, but a blob that unpacks to other content.
	m := newMaker(t)
	layers := threeLayers(t, tar.None)
	lie := layerSpec{raw: makeTar(t, file{name: "lie", body: "x"})}
	m.add(m.image(imageSpec{layers: []layerSpec{lie}, diffIDs: []digest.Digest{digest.FromBytes(layers[0].raw)}}), "")
	before := s.contents(t)
	_, err := s.importFrom(m.dir(), ImportOptions{Name: "lie"})
	require.ErrorIs(t, err, driver.ErrDigest)
	require.Equal(t, before, s.contents(t))
}

func TestEmptyAndRepeatedLayersAreLayers(t *testing.T) {
	onEachDriver(t, func(t *testing.T, s *Store) {
		m := newMaker(t)
		add, del := layerSpec{raw: makeTar(t, file{name: "a", body: "1"}), packed: tar.Gzip}, layerSpec{raw: makeTar(t, file{name: ".wh.a"})}
		none := layerSpec{raw: []byte{}}
		trailer := layerSpec{raw: makeTar(t), packed: tar.Zstd}
		m.add(m.image(imageSpec{layers: []layerSpec{add, del, add, none, trailer, del, add, none}}), "")
		img := s.mustImport(t, m.dir(), ImportOptions{Name: "app"})
		require.Len(t, img.Layers, 8)
		requireProvides(t, s, img.Snapshot, "a")
		requireProvides(t, s, img.Layers[5].ChainID.String())
		s.requireNoLeak(t)
	})
}

func TestAnImageWithoutLayersShowsAnEmptyTree(t *testing.T) {
	onEachDriver(t, func(t *testing.T, s *Store) {
		m := newMaker(t)
		m.add(m.image(imageSpec{}), "")
		img := s.mustImport(t, m.dir(), ImportOptions{Name: "scratch"})
		require.Empty(t, img.Layers)
		requireProvides(t, s, img.Snapshot)
		r, err := s.Resolve(context.Background(), "scratch")
		require.NoError(t, err)
		require.Equal(t, img.Snapshot, r.Key)

		m = newMaker(t)
		m.add(m.image(imageSpec{layers: []layerSpec{{raw: []byte{}}}}), "")
		one := s.mustImport(t, m.dir(), ImportOptions{Name: "empty"})
		require.Equal(t, img.Snapshot, one.Snapshot, "the empty layer shows the same")
		_, err = s.Remove(context.Background(), "scratch")
		require.NoError(t, err)
		requireProvides(t, s, one.Snapshot)
	})
}

func TestNamesComeFromTheSourceUnlessGiven(t *testing.T) {
	s := newStore(t, "vfs")
	m := newMaker(t)
	d := m.image(imageSpec{})
	m.add(d, "12")
	m.add(d, "docker.io/library/app:1")
	path := writeFile(t, "Debian.tar", m.archive())
	require.Equal(t, "debian:12", s.mustImport(t, path, ImportOptions{}).Name)
	_, err := s.Image(context.Background(), "app:1")
	require.NoError(t, err, "all names of the image are recorded")

	_, err = s.Import(context.Background(), Source{Path: "-", Reader: bytes.NewReader(unnamed(t))}, ImportOptions{})
	require.ErrorIs(t, err, ErrInvalid)
	require.ErrorContains(t, err, "give it one")
	_, err = s.importFrom(path, ImportOptions{Name: "No Name"})
	require.ErrorIs(t, err, ErrInvalid)
	_, err = s.importFrom(filepath.Join(t.TempDir(), "missing"), ImportOptions{})
	require.ErrorIs(t, err, ErrNotFound)
	require.ErrorIs(t, err, os.ErrNotExist)
}

func unnamed(t testing.TB) []byte {
	m := newMaker(t)
	m.add(m.image(imageSpec{}), "")
	return m.archive()
}

func TestANameGoesOverToTheImageImportedLast(t *testing.T) {
	s := newStore(t, "vfs")
	var last Image
	for _, body := range []string{"1", "2"} {
		m := newMaker(t)
		m.add(m.image(imageSpec{layers: []layerSpec{{raw: makeTar(t, file{name: "a", body: body})}}}), "")
		last = s.mustImport(t, m.dir(), ImportOptions{Name: "app"})
	}
	got, err := s.Image(context.Background(), "app")
	require.NoError(t, err)
	require.Equal(t, last, got)
	c, err := s.Collect(context.Background())
	require.NoError(t, err)
	require.Len(t, c.Snapshots, 1)
	require.Equal(t, 3, c.Blobs)
}

func TestAPathOfTheWrongKindIsRefused(t *testing.T) {
	s := newStore(t, "vfs")
	dir, archive := newMaker(t).dir(), writeFile(t, "x.tar", makeTar(t, file{name: "x", body: "y"}))
	for source, says := range map[string]string{
		"oci-archive:" + dir:    "is a directory",
		"docker-archive:" + dir: "is a directory",
		"oci:" + archive:        "oci-archive:",
		archive:                 "neither",
		t.TempDir():             "neither",
		writeFile(t, "x", []byte("\x1f\x8bnot gzip")):       "",
		writeFile(t, "y", slices.Repeat([]byte("?"), 2000)): "tar",
	} {
		_, err := s.importFrom(source, ImportOptions{Name: "x"})
		require.Error(t, err, source)
		require.ErrorContains(t, err, says)
		require.True(t, errors.Is(err, ErrInvalid) || errors.Is(err, driver.ErrInvalidLayer), "%v", err)
	}
	require.Equal(t, contents{}, s.contents(t))
}

// endless is a stream that never ends.
type endless byte

func (e endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(e)
	}
	return len(p), nil
}

func TestAStreamThatBeginsAsNoArchiveIsNotPutAside(t *testing.T) {
	s := newStore(t, "vfs")
	for _, b := range []byte{0, 'y'} {
		_, err := s.Import(t.Context(), Source{Path: "-", Reader: endless(b)}, ImportOptions{})
		require.ErrorIs(t, err, ErrInvalid)
		require.ErrorContains(t, err, "not a tar archive")
	}
}
