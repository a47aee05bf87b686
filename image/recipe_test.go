package image

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/internal/recipe"
	"github.com/layerkeep/layerkeep/tar"
)

// packedWays are the ways to compress a layer. For each it says whether the
// blob can be made again.
var packedWays = map[string]struct {
	kind tar.Compression
	pack func(w io.Writer) (io.WriteCloser, error)
	same bool
}{
	"not at all":          {tar.None, ours(tar.None), true},
	"as here":             {tar.Gzip, ours(tar.Gzip), true},
	"as docker does":      {tar.Gzip, goGzip(gzip.DefaultCompression), true},
	"as ko does":          {tar.Gzip, goGzip(gzip.BestSpeed), true},
	"by Go, for the size": {tar.Gzip, goGzip(gzip.BestCompression), true},
	"by Go, at level 3":   {tar.Gzip, goGzip(3), false},
	"with a name": {tar.Gzip, func(w io.Writer) (io.WriteCloser, error) {
		z := gzip.NewWriter(w)
		z.Name = "layer.tar"
		return z, nil
	}, false},
	"zstd": {tar.Zstd, ours(tar.Zstd), true},
	"zstd, for the size": {tar.Zstd, func(w io.Writer) (io.WriteCloser, error) {
		return zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedBestCompression))
	}, false},
}

// foreignLayer is a layer whose tar differs from what a diff writes: it has
// another order and padding.
func foreignLayer(t *testing.T) []byte {
	t.Helper()
	body := bytes.Repeat([]byte("some text that packs well, and more of it\n"), 3000)
	raw := makeTar(t, file{name: "z", body: string(body)}, file{name: "./a/"}, file{name: "./a/b", body: "b"}, file{name: "l", hardlink: "./a/b"})
	return append(raw, make([]byte, 10240-len(raw)%10240)...)
}

func TestABlobIsMadeAnewFromItsRecipe(t *testing.T) {
	layer := foreignLayer(t)
	for what, c := range packedWays {
		t.Run(what, func(t *testing.T) {
			var blob bytes.Buffer
			w, err := c.pack(&blob)
			require.NoError(t, err)
			_, err = w.Write(layer)
			require.NoError(t, err)
			require.NoError(t, w.Close())
			m := newMaker(t)
			spec := imageSpec{layers: []layerSpec{{raw: layer, blob: blob.Bytes(), packed: c.kind}}}
			m.add(m.image(spec), "")
			dir := m.dir()
			onEachDriver(t, func(t *testing.T, s *Store) {
				var mu sync.Mutex
				var warned []string
				warn := func(_ int, _, message string) {
					mu.Lock()
					defer mu.Unlock()
					warned = append(warned, message)
				}
				img := s.mustImport(t, dir, ImportOptions{Name: "app", Recipes: true, Warn: warn})
				d := img.Layers[0].Blob.Digest
				require.NoError(t, os.Remove(s.blobs.path(d)))
				if c.same {
					require.Empty(t, warned)
					require.NoError(t, s.RenewBlob(t.Context(), d, true))
					require.NoFileExists(t, s.blobs.path(d), "a dry run")
					require.NoError(t, s.RenewBlob(t.Context(), d, false))
					s.requireBlobs(t, img)
				} else {
					require.Len(t, warned, 1)
					require.Contains(t, warned[0], "its blob cannot")
					require.ErrorIs(t, s.RenewBlob(t.Context(), d, false), ErrNoSource)
				}
				require.NoError(t, os.RemoveAll(s.blobs.path(d)))
				_, e := s.exported(t, "app", ExportOptions{})
				require.Equal(t, img.Config.Digest, e.Config.Digest, "the tar is the same, so the config is")
				require.Equal(t, img.Layers[0].DiffID, e.Layers[0].DiffID)

				c, err := s.Collect(t.Context())
				require.NoError(t, err)
				require.Zero(t, c.Blobs, "a recipe stays with its layer")
				_, err = s.Remove(t.Context(), "app")
				require.NoError(t, err)
				_, err = s.Collect(t.Context())
				require.NoError(t, err)
				require.NoError(t, s.blobs.walk(func(d digest.Digest, _ int64) error {
					require.Fail(t, "a blob is left", d)
					return nil
				}))
			})
		})
	}
}

func TestARecipeIsKeptOfWhatWasImportedBefore(t *testing.T) {
	m := newMaker(t)
	m.add(m.image(imageSpec{layers: threeLayers(t, tar.Gzip)}), "")
	s := newStore(t, "vfs")
	img := s.mustImport(t, m.dir(), ImportOptions{Name: "app"})
	d := img.Layers[1].Blob.Digest
	require.ErrorIs(t, s.RenewBlob(t.Context(), d, true), ErrNoSource)
	for range 2 {
		s.mustImport(t, m.dir(), ImportOptions{Name: "app", Recipes: true})
	}
	require.NoError(t, os.Remove(s.blobs.path(d)))
	require.NoError(t, s.RenewBlob(t.Context(), d, false))
	s.requireBlobs(t, img)
}

// Damage to other data than the recipe never gives another blob.
func TestADamagedLayerOrRecipeGivesNoBlob(t *testing.T) {
	m := newMaker(t)
	m.add(m.image(imageSpec{layers: threeLayers(t, tar.Gzip)}), "")
	for what, c := range map[string]struct {
		harm func(t *testing.T, s *Store, l Layer)
		is   error
	}{
		"a file of the layer": {func(t *testing.T, s *Store, l Layer) {
			var file string
			require.NoError(t, filepath.WalkDir(s.layerDir(t, l)+"/tree", func(path string, e os.DirEntry, err error) error {
				if err == nil && e.Type().IsRegular() {
					if info, err := e.Info(); err == nil && info.Size() > 0 {
						file = path
					}
				}
				return err
			}))
			require.NotEmpty(t, file)
			flipByte(t, file, 0)
		}, recipe.ErrDiffers},
		"the recipe": {func(t *testing.T, s *Store, l Layer) {
			row, err := s.rowOf(l.ChainID.String())
			require.NoError(t, err)
			path := s.blobs.path(digest.Digest(row.Labels[LabelRecipe]))
			info, err := os.Stat(path)
			require.NoError(t, err)
			flipByte(t, path, int(info.Size())/2)
		}, nil},
		"the recipe is missing": {func(t *testing.T, s *Store, l Layer) {
			row, err := s.rowOf(l.ChainID.String())
			require.NoError(t, err)
			require.NoError(t, os.Remove(s.blobs.path(digest.Digest(row.Labels[LabelRecipe]))))
		}, nil},
		"the layer": {func(t *testing.T, s *Store, l Layer) { require.NoError(t, loseLayer(s.layerDir(t, l))) }, nil},
	} {
		t.Run(what, func(t *testing.T) {
			s := newStore(t, "vfs")
			img := s.mustImport(t, m.dir(), ImportOptions{Name: "app", Recipes: true})
			l := img.Layers[0]
			require.NoError(t, os.Remove(s.blobs.path(l.Blob.Digest)))
			c.harm(t, s, l)
			err := s.RenewBlob(t.Context(), l.Blob.Digest, false)
			require.ErrorIs(t, err, ErrNoSource)
			if c.is != nil {
				require.ErrorIs(t, err, c.is)
			}
			require.NoFileExists(t, s.blobs.path(l.Blob.Digest))
			left, err := os.ReadDir(filepath.Join(s.blobs.dir, ingestDir))
			require.NoError(t, err)
			require.Empty(t, left)
		})
	}
}
