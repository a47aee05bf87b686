package image

import (
	"bytes"
	"context"
	"io"
	"os"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/tar"
)

// dockerSave writes the older form of a Docker archive: a directory for each
// layer. A layer that occurs twice is a symbolic link the second time.
func dockerSave(t testing.TB, tags []string, layers ...layerSpec) []file {
	t.Helper()
	m := newMaker(t)
	config := ocispec.Image{Platform: hostPlatform, RootFS: ocispec.RootFS{Type: "layers"}}
	entry := dockerEntry{RepoTags: tags}
	var files []file
	seen := map[digest.Digest]string{}
	for i, l := range layers {
		diffID := digest.FromBytes(l.raw)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, diffID)
		id := digest.FromString(diffID.String() + string(rune('a'+i))).Encoded()
		files = append(files, file{name: id + "/"}, file{name: id + "/VERSION", body: "1.0"})
		if first := seen[diffID]; first != "" {
			files = append(files, file{name: id + "/layer.tar", symlink: "../" + first + "/layer.tar"})
		} else {
			files = append(files, file{name: id + "/layer.tar", body: string(pack(t, l.raw, l.packed))})
			seen[diffID] = id
		}
		entry.Layers = append(entry.Layers, id+"/layer.tar")
	}
	rawConfig := m.json(config)
	entry.Config = digest.FromBytes(rawConfig).Encoded() + ".json"
	return append(files,
		file{name: entry.Config, body: string(rawConfig)},
		file{name: "repositories", body: "{}"},
		file{name: "manifest.json", body: string(m.json([]dockerEntry{entry}))})
}

// memoryFile is a file in memory.
type memoryFile struct{ *bytes.Reader }

func (memoryFile) Close() error { return nil }

// indexed reads the headers of a tar.
func indexed(raw []byte) (*tarBag, error) {
	return indexTar(context.Background(), memoryFile{bytes.NewReader(raw)})
}

func TestADockerArchiveIsRead(t *testing.T) {
	one := layerSpec{raw: makeTar(t, file{name: "a", body: "1"})}
	two := layerSpec{raw: makeTar(t, file{name: "b", body: "2"}), packed: tar.Gzip}
	bag, err := indexed(makeTar(t, dockerSave(t, []string{"app:1"}, one, two, one)...))
	require.NoError(t, err)
	all, err := dockerCandidates(context.Background(), bag)
	require.NoError(t, err)
	require.Len(t, all, 1)
	require.Equal(t, []string{"app:1"}, all[0].refs)
	img, err := all[0].load()
	require.NoError(t, err)
	require.Len(t, img.Layers, 3)
	require.Equal(t, ocispec.MediaTypeImageLayer, img.Layers[0].Blob.MediaType)
	require.Equal(t, ocispec.MediaTypeImageLayerGzip, img.Layers[1].Blob.MediaType)
	require.Equal(t, img.Layers[0].Blob, img.Layers[2].Blob, "the link leads to the first layer")
	require.NotEqual(t, img.Layers[0].ChainID, img.Layers[2].ChainID)
	for i, l := range img.Layers {
		f, err := img.layer(i)
		require.NoError(t, err)
		raw, err := io.ReadAll(newVerifier(context.Background(), f, l.Blob))
		require.NoError(t, err)
		require.EqualValues(t, l.Blob.Size, len(raw))
	}
	again, err := all[0].load()
	require.NoError(t, err)
	require.Equal(t, img.Target, again.Target, "the manifest that is made is always the same")
}

func TestBadDockerArchivesAreRefused(t *testing.T) {
	layer := layerSpec{raw: makeTar(t)}
	manifest := func(s string) []file { return []file{{name: "manifest.json", body: s}} }
	good := dockerSave(t, nil, layer)
	without := func(n int) []file { return append(append([]file{}, good[:n]...), good[n+1:]...) }
	for name, c := range map[string]struct {
		files []file
		is    error
		says  string
	}{
		"no manifest":                     {[]file{{name: "x", body: "y"}}, ErrInvalid, "manifest.json"},
		"a very old archive":              {[]file{{name: "repositories", body: "{}"}}, ErrInvalid, "1.10"},
		"a manifest that is no JSON":      {manifest("]"), ErrInvalid, "manifest.json"},
		"a missing config":                {manifest(`[{"Config":"x.json"}]`), ErrMissingBlob, "x.json"},
		"a config outside the archive":    {manifest(`[{"Config":"../../etc/passwd"}]`), ErrInvalid, "leaves"},
		"an absolute config":              {manifest(`[{"Config":"/etc/passwd"}]`), ErrMissingBlob, "passwd"},
		"a missing layer":                 {without(2), ErrMissingBlob, "layer.tar"},
		"a layer more than diffIDs":       {append(without(5), file{name: "manifest.json", body: `[{"Config":"` + good[3].name + `","Layers":["a","b"]}]`}), ErrInvalid, "2 layers and the config 1"},
		"a config that is not its digest": {append(without(3), file{name: good[3].name, body: "{}"}), ErrDigest, "has the digest"},
		"no image at all":                 {manifest(`[]`), ErrInvalid, "holds none"},
	} {
		t.Run(name, func(t *testing.T) {
			bag, err := indexed(makeTar(t, c.files...))
			require.NoError(t, err)
			all, err := dockerCandidates(context.Background(), bag)
			if err == nil {
				want, _ := ImportOptions{}.wanted("")
				_, _, err = pick(all, want)
			}
			require.ErrorIs(t, err, c.is)
			require.ErrorContains(t, err, c.says)
		})
	}
}

func TestLinksInAnArchiveStayInside(t *testing.T) {
	bag, err := indexed(makeTar(t,
		file{name: "./d/real", body: "body"},
		file{name: "d/rel", symlink: "real"},
		file{name: "up", symlink: "d/../d/rel"},
		file{name: "hard", hardlink: "d/real"},
		file{name: "dir", symlink: "d"},
		file{name: "e/back", symlink: "../dir"},
		file{name: "absolute", symlink: "/d/real"},
		file{name: "out", symlink: "../../etc/passwd"},
		file{name: "loop", symlink: "loop2"},
		file{name: "loop2", symlink: "loop"},
		file{name: "../escape", body: "x"},
		file{name: "twice", body: "old"},
		file{name: "twice", body: "newer"},
	))
	require.NoError(t, err)
	for _, name := range []string{"d/real", "d/rel", "up", "hard", "dir/real", "dir/rel", "e/back/real"} {
		raw, err := readDocument(bag, name)
		require.NoError(t, err, name)
		require.Equal(t, "body", string(raw))
	}
	raw, err := readDocument(bag, "twice")
	require.NoError(t, err)
	require.Equal(t, "newer", string(raw))
	for _, name := range []string{"out", "absolute", "out/more"} {
		_, _, err = bag.open(name)
		require.ErrorIs(t, err, ErrLink, name)
		require.ErrorContains(t, err, name)
	}
	for _, name := range []string{"escape", "../escape", "d"} {
		_, _, err := bag.open(name)
		require.ErrorIs(t, err, os.ErrNotExist, name)
	}
	_, _, err = bag.open("loop")
	require.ErrorIs(t, err, ErrInvalid)
}

func TestWhatIsNoTarOrACutOneIsRefused(t *testing.T) {
	_, err := indexed([]byte("this is not an archive, though it is longer than a block " + string(make([]byte, 600))))
	require.ErrorIs(t, err, ErrInvalid)
	whole := makeTar(t, file{name: "a", body: string(make([]byte, 5000))}, file{name: "b", body: "x"})
	for _, n := range []int{100, 512, 3000, 512 + 5120 + 100} {
		_, err := indexed(whole[:n])
		require.ErrorIs(t, err, ErrInvalid, "cut at %d", n)
	}
}

func FuzzIndexTar(f *testing.F) {
	f.Add(makeTar(f, dockerSave(f, nil, layerSpec{raw: makeTar(f)})...))
	f.Add(makeTar(f, file{name: "a", symlink: "b"}, file{name: "b", symlink: "a"}))
	f.Fuzz(func(t *testing.T, raw []byte) {
		bag, err := indexed(raw)
		if err != nil {
			return
		}
		for name := range bag.files {
			_, _ = readDocument(bag, name)
		}
		for name := range bag.links {
			_, _ = readDocument(bag, name)
		}
	})
}
