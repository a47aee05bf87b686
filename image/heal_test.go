package image

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/tar"
)

// layerDir returns the directory of the layer of an image.
func (s *Store) layerDir(t testing.TB, l Layer) string {
	t.Helper()
	layers, err := s.snaps.Inspect(context.Background())
	require.NoError(t, err)
	for _, have := range layers {
		if have.Name == l.ChainID.String() {
			dir := filepath.Join(s.snaps.Root(), s.snaps.Driver().Name())
			if s.snaps.Driver().Name() == "aufs" {
				dir = filepath.Join(dir, ".layerkeep", "layers") // the directory of its record
			}
			return filepath.Join(dir, string(have.ID))
		}
	}
	require.Fail(t, "no such layer")
	return ""
}

// loseLayer removes the directory of a layer, or everything with its name: with
// aufs there are several.
func loseLayer(dir string) error {
	root, id, found := strings.Cut(dir, "/.layerkeep/layers/")
	if !found {
		return fstest.RemoveAll(dir)
	}
	var errs []error
	for _, place := range []string{"diff", "layers", "mnt", ".layerkeep/layers"} {
		errs = append(errs, fstest.RemoveAll(filepath.Join(root, place, id)))
	}
	return errors.Join(errs...)
}

// flipByte changes one byte of a file.
func flipByte(t testing.TB, path string, at int) {
	t.Helper()
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	raw[at] ^= 1
	require.NoError(t, os.Chmod(path, 0o600))
	require.NoError(t, os.WriteFile(path, raw, 0o600))
}

// requireBlobs fails unless all blobs of an image have their digests.
func (s *Store) requireBlobs(t testing.TB, img Image) {
	t.Helper()
	all := []digest.Digest{img.Target.Digest, img.Config.Digest}
	for _, l := range img.Layers {
		all = append(all, l.Blob.Digest)
	}
	for _, d := range all {
		raw, err := os.ReadFile(s.blobs.path(d))
		require.NoError(t, err)
		require.Equal(t, d, digest.FromBytes(raw))
	}
}

func TestAnImportHealsWhatItMeets(t *testing.T) {
	m := newMaker(t)
	m.add(m.image(imageSpec{layers: threeLayers(t, tar.Gzip)}), "")
	dir := m.dir()
	onEachDriver(t, func(t *testing.T, s *Store) {
		if _, ok := s.snaps.Driver().(driver.Replacer); !ok {
			t.Skip("the driver cannot put one layer in the place of another")
		}
		img := s.mustImport(t, dir, ImportOptions{Name: "app"})
		s.change(t, "child", img.Snapshot, makeTar(t, file{name: "child", body: "c"}), nil)
		want, child := s.tree(t, img.Snapshot), s.tree(t, "child")
		layer := func(i int) string { return s.layerDir(t, img.Layers[i]) }
		blob := func(i int) string { return s.blobs.path(img.Layers[i].Blob.Digest) }
		for what, c := range map[string]struct {
			harm func() error
			// warned has the layers that were unpacked again, or whose blobs were replaced.
			warned []int
		}{
			"nothing":                        {func() error { return nil }, nil},
			"a layer's directory is missing": {func() error { return loseLayer(layer(1)) }, []int{1}},
			"the lowest layer's is":          {func() error { return loseLayer(layer(0)) }, []int{0}},
			"all are":                        {func() error { return errorsOf(loseLayer, layer(0), layer(1), layer(2)) }, []int{0, 1, 2}},
			"a record is missing":            {func() error { return os.Remove(layer(2) + "/layer.json") }, []int{2}},
			"a record is damaged":            {func() error { return os.WriteFile(layer(0)+"/layer.json", []byte("{"), 0o600) }, []int{0}},
			"a blob is missing":              {func() error { return os.Remove(blob(1)) }, nil},
			"a blob is shorter":              {func() error { return os.Truncate(blob(1), 30) }, []int{1}},
			"a blob and its layer are missing": {func() error {
				return errorsOf(loseLayer, layer(1), blob(1))
			}, []int{1}},
			"a blob is rotten, and its layer missing": {func() error {
				flipByte(t, blob(1), 40)
				return loseLayer(layer(1))
			}, []int{1, 1}},
			"the first byte of a blob is, and its layer missing": {func() error {
				flipByte(t, blob(0), 0)
				return loseLayer(layer(0))
			}, []int{0, 0}},
			"a blob is rotten, and its layer is there": {func() error { flipByte(t, blob(2), 30); return nil }, []int{2}},
			"the manifest is rotten":                   {func() error { flipByte(t, s.blobs.path(img.Target.Digest), 9); return nil }, nil},
			"the config is missing":                    {func() error { return os.Remove(s.blobs.path(img.Config.Digest)) }, nil},
		} {
			require.NoError(t, c.harm(), what)
			var mu sync.Mutex
			var warned []int
			again := s.mustImport(t, dir, ImportOptions{Name: "app", Warn: func(layer int, _, message string) {
				mu.Lock()
				defer mu.Unlock()
				require.Contains(t, message, "damaged")
				warned = append(warned, layer)
			}})
			require.Equal(t, img.Snapshot, again.Snapshot)
			require.Equal(t, c.warned, warned, what)
			require.Equal(t, want, s.tree(t, img.Snapshot), what)
			require.Equal(t, child, s.tree(t, "child"), what)
			s.requireBlobs(t, img)
			for _, l := range img.Layers {
				require.NoError(t, s.snaps.Usable(t.Context(), l.ChainID.String()), what)
			}
		}
	})
}

func errorsOf(fn func(string) error, paths ...string) error {
	for _, p := range paths {
		if err := fn(p); err != nil {
			return err
		}
	}
	return nil
}

func TestAnImportThatCannotHealSaysWhatIsDamaged(t *testing.T) {
	s := newStore(t, "vfs")
	layers := threeLayers(t, tar.Gzip)
	m := newMaker(t)
	m.add(m.image(imageSpec{layers: layers}), "")
	img := s.mustImport(t, m.dir(), ImportOptions{Name: "app"})
	flipByte(t, s.blobs.path(img.Layers[1].Blob.Digest), 40)
	require.NoError(t, loseLayer(s.layerDir(t, img.Layers[1])))
	delete(m.files, blobName(img.Layers[1].Blob.Digest)) // the source lacks it too
	src, err := ParseSource(m.dir(), nil)
	require.NoError(t, err)
	_, err = s.Import(t.Context(), src, ImportOptions{Name: "again"})
	require.ErrorIs(t, err, ErrMissingBlob)
	require.ErrorContains(t, err, "layer 2 of 3")
	require.ErrorContains(t, err, "its layer is missing")
	require.ErrorContains(t, err, "the kept blob is damaged")
	_, err = s.Image(t.Context(), "again")
	require.ErrorIs(t, err, ErrNotFound)
	require.FileExists(t, s.blobs.path(img.Layers[1].Blob.Digest), "what the other image has stays")
}

// An import replaces a blob that an export has found to be damaged, as the
// error of the export says.
func TestAnImportReplacesABlobThatAnExportHasFoundRotten(t *testing.T) {
	m := newMaker(t)
	m.add(m.image(imageSpec{layers: threeLayers(t, tar.Gzip)}), "")
	onEachDriver(t, func(t *testing.T, s *Store) {
		img := s.mustImport(t, m.dir(), ImportOptions{Name: "app"})
		flipByte(t, s.blobs.path(img.Layers[1].Blob.Digest), 20)
		_, err := s.Export(t.Context(), "app", io.Discard, ExportOptions{})
		require.ErrorIs(t, err, ErrBlobDamaged)
		require.ErrorIs(t, err, errdefs.ErrDataLoss)
		s.mustImport(t, m.dir(), ImportOptions{Name: "app"})
		s.requireBlobs(t, img)
		_, err = s.Export(t.Context(), "app", io.Discard, ExportOptions{})
		require.NoError(t, err)
	})
}

func TestABlobIsMadeAnewFromItsLayerWhereThatGivesTheSameBytes(t *testing.T) {
	m := newMaker(t)
	m.add(m.image(imageSpec{layers: threeLayers(t, tar.Gzip)}), "")
	onEachDriver(t, func(t *testing.T, s *Store) {
		img := s.mustImport(t, m.dir(), ImportOptions{Name: "app"})
		s.change(t, "mine", img.Snapshot, makeTar(t, file{name: "mine", body: strings.Repeat("m", 5000)}), nil)
		_, e := s.exported(t, "mine", ExportOptions{})
		ours := e.Layers[3].Blob.Digest
		require.NoError(t, s.RenewBlob(t.Context(), ours, true))
		for what, harm := range map[string]func() error{
			"missing": func() error { return os.Remove(s.blobs.path(ours)) },
			"rotten":  func() error { flipByte(t, s.blobs.path(ours), 20); return nil },
		} {
			require.NoError(t, harm(), what)
			require.NoError(t, s.RenewBlob(t.Context(), ours, true), what)
			blob, err := s.OpenBlob(t.Context(), e.Layers[3].Blob)
			require.Equal(t, what == "missing", err != nil, "a dry run writes nothing")
			if err == nil {
				require.NoError(t, blob.Close())
			}
			require.NoError(t, s.RenewBlob(t.Context(), ours, false), what)
			raw, err := os.ReadFile(s.blobs.path(ours))
			require.NoError(t, err)
			require.Equal(t, ours, digest.FromBytes(raw), what)
		}

		// The tar of another tool has other bytes.
		theirs := img.Layers[0].Blob.Digest
		require.NoError(t, os.Remove(s.blobs.path(theirs)))
		require.ErrorIs(t, s.RenewBlob(t.Context(), theirs, false), ErrNoSource)
		require.NoFileExists(t, s.blobs.path(theirs))
		require.ErrorIs(t, s.RenewBlob(t.Context(), digest.FromString("nobody's"), false), ErrNoSource)
		left, err := os.ReadDir(filepath.Join(s.blobs.dir, ingestDir))
		require.NoError(t, err)
		require.Empty(t, left)
	})
}

func TestABlobThatWasExportedHereAndImportedElsewhereIsMadeAnewThere(t *testing.T) {
	a := newStore(t, "vfs")
	a.change(t, "mine", "", makeTar(t, file{name: "d/"}, file{name: "d/x", body: "x"}), nil)
	raw, _ := a.exported(t, "mine", ExportOptions{Name: "mine:1"})
	onEachDriver(t, func(t *testing.T, s *Store) {
		img := s.mustImport(t, writeFile(t, "x.tar", raw), ImportOptions{})
		d := img.Layers[0].Blob.Digest
		require.NoError(t, os.Remove(s.blobs.path(d)))
		require.NoError(t, s.RenewBlob(t.Context(), d, false))
		s.requireBlobs(t, img)
	})
}

func TestALayerIsMadeAnewFromItsBlob(t *testing.T) {
	m := newMaker(t)
	m.add(m.image(imageSpec{layers: threeLayers(t, tar.Zstd)}), "")
	empty := newMaker(t)
	empty.add(empty.image(imageSpec{}), "")
	onEachDriver(t, func(t *testing.T, s *Store) {
		if _, ok := s.snaps.Driver().(driver.Replacer); !ok {
			img := s.mustImport(t, m.dir(), ImportOptions{Name: "app"})
			for _, dryRun := range []bool{true, false} {
				require.ErrorIs(t, s.RenewLayer(t.Context(), img.Snapshot, dryRun), driver.ErrUnsupported)
			}
			return
		}
		img := s.mustImport(t, m.dir(), ImportOptions{Name: "app"})
		s.change(t, "mine", img.Snapshot, makeTar(t, file{name: "mine", body: "m"}), nil)
		mine := Layer{ChainID: "mine"}
		want := s.tree(t, "mine")
		require.ErrorIs(t, s.RenewLayer(t.Context(), "mine", false), ErrNoSource, "it was not exported")
		_, e := s.exported(t, "mine", ExportOptions{})
		for _, l := range append(img.Layers[:len(img.Layers):len(img.Layers)], mine) {
			key := l.ChainID.String()
			require.NoError(t, loseLayer(s.layerDir(t, l)))
			require.NoError(t, s.RenewLayer(t.Context(), key, true))
			require.Error(t, s.snaps.Usable(t.Context(), key), "a dry run changes nothing")
			require.NoError(t, s.RenewLayer(t.Context(), key, false))
			require.NoError(t, s.snaps.Usable(t.Context(), key))
			require.Equal(t, want, s.tree(t, "mine"))
		}
		flipByte(t, s.blobs.path(img.Layers[0].Blob.Digest), 40)
		for _, dryRun := range []bool{true, false} {
			require.Error(t, s.RenewLayer(t.Context(), img.Layers[0].ChainID.String(), dryRun), "its blob is rotten")
		}
		require.NoError(t, os.Remove(s.blobs.path(e.Layers[3].Blob.Digest)))
		require.ErrorIs(t, s.RenewLayer(t.Context(), "mine", false), ErrNoSource)
		require.Equal(t, want, s.tree(t, "mine"), "what cannot be made anew stays as it is")

		none := s.mustImport(t, empty.dir(), ImportOptions{Name: "empty"})
		require.NoError(t, loseLayer(s.layerDir(t, Layer{ChainID: digest.Digest(none.Snapshot)})))
		require.NoError(t, s.RenewLayer(t.Context(), none.Snapshot, false))
		require.NoError(t, s.snaps.Usable(t.Context(), none.Snapshot))
	})
}
