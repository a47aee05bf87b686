package image

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/tar"
)

func (s *Store) exported(t testing.TB, name string, opts ExportOptions) ([]byte, Exported) {
	t.Helper()
	var buf bytes.Buffer
	e, err := s.Export(context.Background(), name, &buf, opts)
	require.NoError(t, err)
	require.EqualValues(t, buf.Len(), e.Bytes)
	return buf.Bytes(), e
}

// change commits a snapshot that has one more layer over parent.
func (s *Store) change(t testing.TB, name, parent string, layer []byte, labels map[string]string) {
	t.Helper()
	ctx := context.Background()
	err := s.snaps.Create(ctx, name+"-work", parent)
	require.NoError(t, err)
	_, err = s.snaps.Apply(ctx, name+"-work", bytes.NewReader(layer), driver.ApplyOptions{})
	require.NoError(t, err)
	require.NoError(t, s.snaps.Commit(ctx, name, name+"-work", snapshots.WithLabels(labels)))
}

// archived reads the only image of an OCI archive.
func archived(t testing.TB, raw []byte) (*loaded, []string, ocispec.Image) {
	t.Helper()
	bag, err := indexed(raw)
	require.NoError(t, err)
	all, err := layoutCandidates(context.Background(), bag)
	require.NoError(t, err)
	require.Len(t, all, 1)
	img, err := all[0].load()
	require.NoError(t, err)
	var config ocispec.Image
	require.NoError(t, json.Unmarshal(img.config, &config))
	for i := range img.Layers {
		f, err := img.layer(i)
		require.NoError(t, err)
		require.NoError(t, newVerifier(context.Background(), f, img.Layers[i].Blob).drain())
	}
	return img, all[0].refs, config
}

func TestAnImageGoesOutAsItCameIn(t *testing.T) {
	onEachDriver(t, func(t *testing.T, s *Store) {
		m := newMaker(t)
		target := m.add(m.image(imageSpec{
			layers: threeLayers(t, tar.Gzip, tar.Zstd, tar.None),
			manifest: func(man *ocispec.Manifest) {
				man.Annotations = map[string]string{"a": "b"}
				man.Layers[1].Annotations = map[string]string{"io.github.containers.zstd-chunked.manifest-position": "1:2:3:4"}
			},
		}), "")
		img := s.mustImport(t, m.dir(), ImportOptions{Name: "example.org/app:v1"})
		before := s.contents(t)
		raw, e := s.exported(t, "example.org/app:v1", ExportOptions{})
		require.Equal(t, target.Digest, e.Target.Digest)
		require.Zero(t, e.Made)
		require.Equal(t, before, s.contents(t))
		again, _ := s.exported(t, img.Target.Digest.String(), ExportOptions{})
		require.Equal(t, raw, again)
		got, refs, _ := archived(t, raw)
		require.Equal(t, target.Digest, got.Target.Digest)
		require.Equal(t, []string{"example.org/app:v1"}, refs)

		other := newStore(t, s.snaps.Driver().Name())
		back := other.mustImport(t, writeFile(t, "x.tar", raw), ImportOptions{})
		require.Equal(t, img.Name, back.Name)
		require.Equal(t, img.Target, back.Target)
		require.Equal(t, img.Layers, back.Layers)
		require.Equal(t, s.tree(t, img.Snapshot), other.tree(t, back.Snapshot))
		s.requireNoLeak(t)
	})
}

func TestDockersTermsBecomeOCIs(t *testing.T) {
	s := newStore(t, "vfs")
	m := newMaker(t)
	layers := threeLayers(t, tar.Gzip)
	layers[0].mediaType = dockerForeignLayer + ".gzip"
	layers[1].mediaType = dockerLayer + ".gzip"
	layers[2].mediaType = dockerLayer + ".gzip"
	target := m.add(m.image(imageSpec{
		layers: layers, manifestType: dockerManifest, configType: dockerConfig,
		manifest: func(man *ocispec.Manifest) { man.Layers[0].URLs = []string{"https://example.org/x"} },
	}), "")
	img := s.mustImport(t, m.dir(), ImportOptions{Name: "app"})
	require.Equal(t, target.Digest, img.Target.Digest)
	raw, e := s.exported(t, "app", ExportOptions{})
	require.NotEqual(t, target.Digest, e.Target.Digest)
	got, _, _ := archived(t, raw)
	require.Equal(t, img.Config.Digest, got.Config.Digest)
	require.Equal(t, ocispec.MediaTypeImageConfig, got.Config.MediaType)
	for i, l := range got.Layers {
		require.Equal(t, ocispec.MediaTypeImageLayerGzip, l.Blob.MediaType)
		require.Equal(t, img.Layers[i].Blob.Digest, l.Blob.Digest)
		require.Empty(t, l.Blob.URLs)
	}
	require.False(t, bytes.Contains(raw, []byte("foreign")))
}

func TestASnapshotGoesOutOnItsImage(t *testing.T) {
	onEachDriver(t, func(t *testing.T, s *Store) {
		m := newMaker(t)
		m.add(m.image(imageSpec{layers: threeLayers(t, tar.Zstd), config: func(c *ocispec.Image) {
			c.Config.Cmd = []string{"/bin/sh"}
			c.Author = "somebody"
			c.History = append(c.History, ocispec.History{CreatedBy: "CMD", EmptyLayer: true})
		}}), "")
		img := s.mustImport(t, m.dir(), ImportOptions{Name: "base"})
		s.change(t, "first", img.Snapshot, makeTar(t, file{name: "etc/.wh.b"}, file{name: "new", body: "n"}), nil)
		s.change(t, "second", "first", makeTar(t, file{name: "newer", body: "n"}), nil)

		raw, e := s.exported(t, "second", ExportOptions{Name: "mine:1"})
		require.Equal(t, 2, e.Made)
		require.Equal(t, "mine:1", e.Name)
		got, refs, config := archived(t, raw)
		require.Equal(t, []string{"docker.io/library/mine:1"}, refs)
		require.Len(t, got.Layers, 5)
		for i, l := range img.Layers {
			require.Equal(t, l.Blob.Digest, got.Layers[i].Blob.Digest, "the image's own layers are as they came")
		}
		require.Equal(t, []string{"/bin/sh"}, config.Config.Cmd)
		require.Equal(t, "somebody", config.Author)
		require.Len(t, config.History, 6)
		require.Equal(t, "layerkeep snapshot second", config.History[5].CreatedBy)
		info, err := s.snaps.Stat(context.Background(), "second")
		require.NoError(t, err)
		require.True(t, info.Created.Equal(*config.Created))

		again, e := s.exported(t, "second", ExportOptions{Name: "mine:1"})
		require.Zero(t, e.Made, "the layers were kept")
		require.Equal(t, raw, again)
		_, err = s.Collect(context.Background())
		require.NoError(t, err)
		again, _ = s.exported(t, "second", ExportOptions{Name: "mine:1"})
		require.Equal(t, raw, again, "a collection leaves them")

		other := newStore(t, s.snaps.Driver().Name())
		back := other.mustImport(t, writeFile(t, "x.tar", raw), ImportOptions{})
		require.Equal(t, "mine:1", back.Name)
		require.Equal(t, s.tree(t, "second"), other.tree(t, back.Snapshot))
		s.requireNoLeak(t)
	})
}

func TestTheSameChangeGoesOutTheSameFromEveryDriver(t *testing.T) {
	var want []byte
	onEachDriver(t, func(t *testing.T, s *Store) {
		s.change(t, "mine", "", makeTar(t, file{name: "a/"}, file{name: "a/b", body: "c"}), nil)
		raw, _ := s.exported(t, "mine", ExportOptions{Created: time.Unix(1000, 0)})
		if want == nil {
			want = raw
		}
		require.Equal(t, want, raw)
		_, refs, config := archived(t, raw)
		require.Empty(t, refs)
		require.Equal(t, "linux", config.OS)
		require.NotEmpty(t, config.Architecture)
		require.Len(t, config.History, 1)
		require.Equal(t, int64(1000), config.Created.Unix())
		require.Equal(t, int64(1000), config.History[0].Created.Unix())
	})
}

func TestABaseWithoutAHistoryGetsOne(t *testing.T) {
	s := newStore(t, "vfs")
	m := newMaker(t)
	m.add(m.image(imageSpec{layers: threeLayers(t, tar.None), config: func(c *ocispec.Image) { c.History = nil }}), "")
	img := s.mustImport(t, m.dir(), ImportOptions{Name: "base"})
	s.change(t, "mine", img.Snapshot, makeTar(t, file{name: "a", body: "c"}), nil)
	raw, _ := s.exported(t, "mine", ExportOptions{})
	_, _, config := archived(t, raw)
	require.Len(t, config.History, 4, "one for each layer")
	for _, h := range config.History {
		require.NotNil(t, h.Created)
	}
}

func TestSourceDateEpochIsTheTimeOfCreation(t *testing.T) {
	s := newStore(t, "vfs")
	s.change(t, "mine", "", makeTar(t, file{name: "a", body: "c"}), nil)
	raw, _ := s.exported(t, "mine", ExportOptions{SourceDateEpoch: time.Unix(12345, 0)})
	_, _, config := archived(t, raw)
	require.Equal(t, int64(12345), config.Created.Unix())
	require.Equal(t, int64(12345), config.History[0].Created.Unix())
}

func TestTheNamedBaseGivesTheConfig(t *testing.T) {
	s := newStore(t, "vfs")
	bases := map[string]Image{}
	for _, cmd := range []string{"a", "b"} { // the same layers, other configs
		m := newMaker(t)
		m.add(m.image(imageSpec{layers: threeLayers(t, tar.Gzip), config: func(c *ocispec.Image) { c.Config.Cmd = []string{cmd} }}), "")
		bases[cmd] = s.mustImport(t, m.dir(), ImportOptions{Name: cmd})
	}
	for cmd, img := range bases {
		s.change(t, "on-"+cmd, img.Snapshot, makeTar(t, file{name: "x", body: "c"}), map[string]string{LabelBase: img.Target.Digest.String()})
		_, err := s.Remove(context.Background(), cmd)
		require.NoError(t, err)
	}
	for cmd := range bases {
		raw, _ := s.exported(t, "on-"+cmd, ExportOptions{})
		_, _, config := archived(t, raw)
		require.Equal(t, []string{cmd}, config.Config.Cmd)
		require.Len(t, config.RootFS.DiffIDs, 4)
	}
}

func TestAnImageWithoutLayersGoesOutAndItsChildrenToo(t *testing.T) {
	s := newStore(t, "vfs")
	m := newMaker(t)
	target := m.add(m.image(imageSpec{}), "")
	img := s.mustImport(t, m.dir(), ImportOptions{Name: "scratch"})
	_, e := s.exported(t, "scratch", ExportOptions{})
	require.Equal(t, target.Digest, e.Target.Digest)
	s.change(t, "mine", img.Snapshot, makeTar(t, file{name: "x", body: "c"}), nil)
	_, e = s.exported(t, "mine", ExportOptions{})
	require.Len(t, e.Layers, 1)

	m = newMaker(t)
	target = m.add(m.image(imageSpec{layers: []layerSpec{{raw: []byte{}}}}), "")
	s.mustImport(t, m.dir(), ImportOptions{Name: "empty"})
	_, e = s.exported(t, "empty", ExportOptions{})
	require.Equal(t, target.Digest, e.Target.Digest)
	require.Len(t, e.Layers, 1)
}

func TestALostBlobIsMadeAgain(t *testing.T) {
	onEachDriver(t, func(t *testing.T, s *Store) {
		m := newMaker(t)
		m.add(m.image(imageSpec{layers: threeLayers(t, tar.Gzip)}), "")
		img := s.mustImport(t, m.dir(), ImportOptions{Name: "app"})
		require.NoError(t, s.blobs.remove(img.Layers[1].Blob.Digest))
		raw, e := s.exported(t, "app", ExportOptions{})
		require.Equal(t, 1, e.Made)
		require.Equal(t, []digest.Digest{img.Layers[1].Blob.Digest}, e.Replaced)
		require.NotEqual(t, img.Target.Digest, e.Target.Digest)
		again, e := s.exported(t, "app", ExportOptions{})
		require.Equal(t, raw, again)
		require.Equal(t, []digest.Digest{img.Layers[1].Blob.Digest}, e.Replaced, "as long as it is missing")
		got, _, _ := archived(t, raw)
		require.Equal(t, img.Layers[0].Blob.Digest, got.Layers[0].Blob.Digest)
		other := newStore(t, s.snaps.Driver().Name())
		back := other.mustImport(t, writeFile(t, "x.tar", raw), ImportOptions{Name: "x"})
		require.Equal(t, s.tree(t, img.Snapshot), other.tree(t, back.Snapshot))

		s.mustImport(t, m.dir(), ImportOptions{Name: "app"})
		_, e = s.exported(t, "app", ExportOptions{})
		require.Empty(t, e.Replaced)
		require.Equal(t, img.Target.Digest, e.Target.Digest)
	})
}

// A blob that was compressed here can be made again with the same bytes.
func TestALostBlobOfOursIsMadeAgainAsItWas(t *testing.T) {
	s := newStore(t, "vfs")
	s.change(t, "layer", "", makeTar(t, file{name: "a", body: "1"}), nil)
	raw, first := s.exported(t, "layer", ExportOptions{})
	require.Equal(t, 1, first.Made)
	require.NoError(t, s.blobs.remove(first.Layers[0].Blob.Digest))
	again, second := s.exported(t, "layer", ExportOptions{})
	require.Equal(t, raw, again)
	require.Equal(t, 1, second.Made)
	require.Empty(t, second.Replaced)
}

func TestABlobThatRottedIsNotGivenOn(t *testing.T) {
	s := newStore(t, "vfs")
	m := newMaker(t)
	m.add(m.image(imageSpec{layers: threeLayers(t, tar.None)}), "")
	img := s.mustImport(t, m.dir(), ImportOptions{Name: "app"})
	path := s.blobs.path(img.Layers[0].Blob.Digest)
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	raw[700] ^= 1
	require.NoError(t, os.Chmod(path, 0o600))
	require.NoError(t, os.WriteFile(path, raw, 0o600))
	_, err = s.Export(context.Background(), "app", io.Discard, ExportOptions{})
	require.ErrorIs(t, err, ErrDigest)
}

func TestAnExportThatCannotBeWrittenOrIsCancelledSaysSo(t *testing.T) {
	s := newStore(t, "vfs")
	s.change(t, "mine", "", makeTar(t, file{name: "a", body: noise(300_000)}), nil)
	full := errors.New("no space left on device")
	_, err := s.Export(context.Background(), "mine", failingWriter{full}, ExportOptions{})
	require.ErrorIs(t, err, full)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = s.Export(ctx, "mine", io.Discard, ExportOptions{})
	require.ErrorIs(t, err, context.Canceled)
	_, err = s.Export(context.Background(), "nothing", io.Discard, ExportOptions{})
	require.ErrorIs(t, err, ErrNotFound)
	_, err = s.Export(context.Background(), "mine", io.Discard, ExportOptions{Name: "!"})
	require.ErrorIs(t, err, ErrInvalid)
	s.requireNoLeak(t)
	require.Empty(t, s.contents(t).Ingest)
}

func TestOtherToolsReadTheArchive(t *testing.T) {
	for _, tool := range []string{"skopeo", "umoci"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed", tool)
		}
	}
	s := newStore(t, "vfs")
	m := newMaker(t)
	m.add(m.image(imageSpec{layers: threeLayers(t, tar.Gzip), platform: linuxHost()}), "")
	img := s.mustImport(t, m.dir(), ImportOptions{Name: "base:1"})
	s.change(t, "mine", img.Snapshot, makeTar(t, file{name: "etc/.wh.b"}, file{name: "new", body: "n"}), nil)
	raw, e := s.exported(t, "mine", ExportOptions{Name: "example.org/mine:1"})
	dir := t.TempDir()
	archive := writeFile(t, "mine.tar", raw)
	run := func(name string, args ...string) []byte {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), name, args...)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		require.NoError(t, err, "%s %v: %s", name, args, stderr.String())
		return out
	}
	manifest := run("skopeo", "inspect", "--raw", "oci-archive:"+archive+":1")
	require.Equal(t, e.Target.Digest, digest.FromBytes(manifest))
	copied := filepath.Join(dir, "copied")
	run("skopeo", "copy", "--insecure-policy", "oci-archive:"+archive+":1", "oci:"+copied+":1")
	run("umoci", "unpack", "--image", copied+":1", filepath.Join(dir, "bundle"))
	names, err := os.ReadDir(filepath.Join(dir, "bundle", "rootfs", "etc"))
	require.NoError(t, err)
	require.Empty(t, names)
	body, err := os.ReadFile(filepath.Join(dir, "bundle", "rootfs", "new"))
	require.NoError(t, err)
	require.Equal(t, "n", string(body))

	// umoci also reads the layout as it is.
	layout := filepath.Join(dir, "layout")
	require.NoError(t, os.Mkdir(layout, 0o755))
	run("tar", "-C", layout, "-xf", archive)
	run("umoci", "stat", "--image", layout+":1")

	// The output of skopeo can be imported again and is the same image.
	docker := filepath.Join(dir, "docker.tar")
	run("skopeo", "copy", "--insecure-policy", "oci:"+copied+":1", "docker-archive:"+docker+":example.org/mine:1")
	back := newStore(t, "vfs")
	got := back.mustImport(t, docker, ImportOptions{})
	require.Equal(t, "example.org/mine:1", got.Name)
	require.Equal(t, s.tree(t, "mine"), back.tree(t, got.Snapshot))
}

func linuxHost() ocispec.Platform {
	want, _ := parsePlatform("")
	p := hostPlatform
	if !want.Match(p) {
		p.Architecture = "arm64"
	}
	return p
}
