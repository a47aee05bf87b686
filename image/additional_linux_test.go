package image

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/driver/all"
	"github.com/layerkeep/layerkeep/driver/all/alltest"
	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/snapshotter"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
	"github.com/layerkeep/layerkeep/tar"
)

// onEachBorrower runs a test for every backend that is a [driver.Borrower]. The
// test gets an additional store that fill has filled, and a function that opens
// the store with additional stores.
func onEachBorrower(t *testing.T, fill func(s *Store), test func(t *testing.T, other string, open func(additional ...string) *Store)) {
	for _, name := range all.Names() {
		t.Run(name, func(t *testing.T) {
			alltest.SkipInShort(t, name)
			lender := newStore(t, name)
			if _, ok := lender.snaps.Driver().(driver.Borrower); !ok {
				t.Skip("the driver cannot stand on layers of another store")
			}
			fill(lender)
			require.NoError(t, lender.snaps.Close())
			other := lender.snaps.Root()
			open := func(additional ...string) *Store {
				snaps, err := snapshotter.Open(t.Context(), filepath.Join(filepath.Dir(other), "own"), snapshotter.Options{Driver: name, Additional: additional})
				require.NoError(t, err)
				t.Cleanup(func() { require.NoError(t, snaps.Close()) })
				s, err := Open(snaps)
				require.NoError(t, err)
				return s
			}
			test(t, other, open)
		})
	}
}

// appIn imports "app:1" with three layers, and "base:1" with the lower two of
// them.
func appIn(t *testing.T, s *Store, names ...string) {
	t.Helper()
	layers := threeLayers(t, tar.Gzip)
	for name, n := range map[string]int{"base": 2, "app": 3} {
		if len(names) > 0 && names[0] != name {
			continue
		}
		m := newMaker(t)
		m.add(m.image(imageSpec{layers: layers[:n]}), "")
		s.mustImport(t, m.dir(), ImportOptions{Name: name + ":1"})
	}
}

func imageNames(t *testing.T, s *Store) (names []string) {
	t.Helper()
	images, err := s.List(t.Context())
	require.NoError(t, err)
	for _, img := range images {
		names = append(names, img.Name+"@"+img.Store)
	}
	return names
}

func TestImagesOfAnAdditionalStoreAreUsedWithoutAnImport(t *testing.T) {
	var asItCame []byte
	onEachBorrower(t, func(s *Store) {
		appIn(t, s)
		asItCame, _ = s.exported(t, "app:1", ExportOptions{})
	}, func(t *testing.T, other string, open func(...string) *Store) {
		ctx := t.Context()
		before := fstest.Inventory(t, other)
		s := open(other)
		id := s.snaps.Additional()[0].ID()
		require.Equal(t, []string{"app:1@" + id, "base:1@" + id}, imageNames(t, s))
		img, err := s.Image(ctx, "app:1")
		require.NoError(t, err)
		require.Equal(t, id, img.Store)
		byDigest, err := s.Image(ctx, img.Target.Digest.String())
		require.NoError(t, err)
		require.Equal(t, img, byDigest)
		for _, name := range []string{"app:1", img.Config.Digest.Encoded()[:12], img.Snapshot[:20], img.Snapshot} {
			r, err := s.Resolve(ctx, name)
			require.NoError(t, err, name)
			require.Equal(t, img.Snapshot, r.Key, name)
		}
		requireProvides(t, s, img.Snapshot, threeLayersShow...)
		got, e := s.exported(t, "app:1", ExportOptions{})
		require.Equal(t, asItCame, got, "an export is the image as it came")
		require.Zero(t, e.Made)

		s.change(t, "mine", img.Snapshot, makeTar(t, file{name: "mine", body: "x"}), map[string]string{LabelBase: img.Target.Digest.String()})
		got, e = s.exported(t, "mine", ExportOptions{})
		require.Equal(t, 1, e.Made)
		exported, _, _ := archived(t, got)
		require.Len(t, exported.Layers, 4)
		require.Equal(t, img.Layers, exported.Layers[:3], "on the very layers of the image")

		_, err = s.Remove(ctx, "app:1")
		require.ErrorIs(t, err, snapshotter.ErrReadOnly)
		require.True(t, errdefs.IsFailedPrecondition(err))
		require.ErrorContains(t, err, other)
		c, err := s.Collect(ctx)
		require.NoError(t, err)
		require.Empty(t, c.Snapshots, "a snapshot of ours stands on them")
		require.NoError(t, s.RemoveSnapshot(ctx, "mine"))
		c, err = s.Collect(ctx)
		require.NoError(t, err)
		require.Len(t, c.Snapshots, 3, "they are forgotten")
		kept := s.contents(t)
		kept.Images = nil
		require.Equal(t, contents{}, kept)
		require.Len(t, imageNames(t, s), 2)
		require.NoError(t, s.snaps.Close())
		require.Equal(t, before, fstest.Inventory(t, other), "every name, attribute and time of the other store")
		require.Empty(t, imageNames(t, open()), "which stores there are is recorded nowhere")
	})
}

func TestAnImportUnpacksNothingThatAnAdditionalStoreHas(t *testing.T) {
	onEachBorrower(t, func(s *Store) { appIn(t, s, "base") }, func(t *testing.T, other string, open func(...string) *Store) {
		ctx := t.Context()
		s := open(other)
		appIn(t, s)
		id := s.snaps.Additional()[0].ID()
		require.Equal(t, []string{"app:1@", "base:1@"}, imageNames(t, s), "ours win")
		layers, err := s.snaps.Driver().Layers(ctx)
		require.NoError(t, err)
		require.Len(t, layers, 1, "the uppermost alone is unpacked here")
		img, err := s.Image(ctx, "app:1")
		require.NoError(t, err)
		requireProvides(t, s, img.Snapshot, threeLayersShow...)
		lender, err := s.snaps.Lender(ctx, img.Layers[1].ChainID.String())
		require.NoError(t, err)
		require.Equal(t, id, lender)
		_, err = s.Remove(ctx, "base:1")
		require.NoError(t, err)
		require.Equal(t, []string{"app:1@", "base:1@" + id}, imageNames(t, s))
		requireProvides(t, s, img.Snapshot, threeLayersShow...)
		_, err = s.Remove(ctx, "app:1")
		require.NoError(t, err)
		kept := s.contents(t)
		kept.Images = nil
		require.Equal(t, contents{}, kept)
	})
}

func TestAnImportUnpacksWhatAMissingStoreHasUnlessSomethingStandsOnIt(t *testing.T) {
	onEachBorrower(t, func(s *Store) { appIn(t, s) }, func(t *testing.T, other string, open func(...string) *Store) {
		ctx := t.Context()
		s := open(other)
		img, err := s.Image(ctx, "app:1")
		require.NoError(t, err)
		require.NoError(t, s.snaps.Create(ctx, "box", img.Snapshot))
		require.NoError(t, s.snaps.Close())

		s = open()
		_, err = s.importFrom(appSource(t), ImportOptions{Name: "app:1"})
		require.ErrorIs(t, err, snapshotter.ErrElsewhere)
		require.ErrorContains(t, err, "--additional")
		require.NoError(t, s.RemoveSnapshot(ctx, "box"))
		appIn(t, s, "app")
		requireProvides(t, s, img.Snapshot, threeLayersShow...)
		layers, err := s.snaps.Driver().Layers(ctx)
		require.NoError(t, err)
		require.Len(t, layers, 3)
		s.requireNoLeak(t)
	})
}

func appSource(t *testing.T) string {
	t.Helper()
	m := newMaker(t)
	m.add(m.image(imageSpec{layers: threeLayers(t, tar.Gzip)}), "")
	return m.dir()
}

func TestWhatAnAdditionalStoreSaysOfImagesIsNotBelieved(t *testing.T) {
	onEachBorrower(t, func(s *Store) {
		appIn(t, s, "app")
		img, err := s.Image(context.Background(), "app:1")
		require.NoError(t, err)
		put := func(name string, change func(*Image)) {
			bad := img
			raw, err := json.Marshal(img)
			require.NoError(t, err)
			require.NoError(t, json.Unmarshal(raw, &bad))
			bad.Name = name
			change(&bad)
			require.NoError(t, s.snaps.DB().Update(func(tx *meta.Tx) error { return tx.PutRecord(imageRecords, name, bad) }))
		}
		put("snapshot:1", func(i *Image) { i.Snapshot = "secret" })
		put("chain:1", func(i *Image) { i.Layers[2].ChainID, i.Snapshot = "secret", "secret" })
		put("digest:1", func(i *Image) { i.Target.Digest = "secret" })
		put("path:1", func(i *Image) { i.Config.Digest = "sha256:../../../x" })
		put("blob:1", func(i *Image) { i.Layers[0].Blob.Digest = "x" })
		put("diffid:1", func(i *Image) { i.Layers[0].DiffID = "x" })
		put("size:1", func(i *Image) { i.Target.Size = -1 })
		put("another:1", func(i *Image) { i.Name = "mine:1" })
		put("No Name", func(*Image) {})
		require.NoError(t, s.snaps.DB().Update(func(tx *meta.Tx) error { return tx.PutRecord(imageRecords, "text:1", "text") }))
	}, func(t *testing.T, other string, open func(...string) *Store) {
		s := open(other)
		id := s.snaps.Additional()[0].ID()
		s.change(t, "secret", "", makeTar(t, file{name: "secret", body: "x"}), nil)
		require.Equal(t, []string{"app:1@" + id}, imageNames(t, s))
		for _, name := range []string{"snapshot:1", "chain:1", "digest:1", "path:1", "blob:1", "diffid:1", "size:1", "another:1", "mine:1", "No Name", "text:1"} {
			_, err := s.Image(t.Context(), name)
			require.ErrorIs(t, err, ErrNotFound, name)
			_, err = s.Resolve(t.Context(), name)
			require.ErrorIs(t, err, ErrNotFound, name)
		}
	})
}

func TestABlobOfAnAdditionalStoreIsComparedWithItsDigest(t *testing.T) {
	onEachBorrower(t, func(s *Store) { appIn(t, s, "app") }, func(t *testing.T, other string, open func(...string) *Store) {
		s := open(other)
		img, err := s.Image(t.Context(), "app:1")
		require.NoError(t, err)
		export := func() error {
			_, err := s.Export(t.Context(), "app:1", &bytes.Buffer{}, ExportOptions{})
			return err
		}
		require.NoError(t, export())
		spoil := func(d digest.Digest, spoil func(path string)) {
			t.Helper()
			path := filepath.Join(other, "content", blobName(d))
			sound, err := os.ReadFile(path)
			require.NoError(t, err)
			require.NoError(t, os.Remove(path))
			spoil(path)
			require.Error(t, export())
			require.NoError(t, os.Remove(path))
			require.NoError(t, os.WriteFile(path, sound, 0o444))
		}
		for _, d := range []digest.Digest{img.Target.Digest, img.Config.Digest, img.Layers[1].Blob.Digest} {
			spoil(d, func(path string) { require.NoError(t, os.WriteFile(path, []byte(strings.Repeat("x", 200)), 0o444)) })
			spoil(d, func(path string) { require.NoError(t, syscall.Mkfifo(path, 0o600)) })
			spoil(d, func(path string) { require.NoError(t, os.Symlink("/proc/self/environ", path)) })
		}
		require.NoError(t, export())
	})
}
