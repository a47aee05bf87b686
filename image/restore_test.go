package image

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/snapshotter"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
	"github.com/layerkeep/layerkeep/tar"
)

func nowhere(string) bool { return false }

// forget makes the database lose its images.
func forget(t *testing.T, s *Store) {
	t.Helper()
	images, err := s.List(t.Context())
	require.NoError(t, err)
	require.NoError(t, s.snaps.DB().Update(func(tx *meta.Tx) error {
		for _, img := range images {
			if err := tx.DeleteRecord(imageRecords, img.Name); err != nil {
				return err
			}
		}
		return nil
	}))
}

func TestImagesThatTheDatabaseHasLostAreThereAgain(t *testing.T) {
	onEachDriver(t, func(t *testing.T, s *Store) {
		m := newMaker(t)
		m.add(m.image(imageSpec{layers: threeLayers(t, tar.Gzip)}), "1")
		for _, name := range []string{"a:1", "b:1", "gone:1"} {
			s.mustImport(t, m.dir(), ImportOptions{Name: name})
		}
		_, err := s.Remove(t.Context(), "gone:1")
		require.NoError(t, err)
		want, err := s.List(t.Context())
		require.NoError(t, err)
		require.Len(t, want, 2)

		forget(t, s)
		for _, dryRun := range []bool{true, false} {
			restored, err := s.Restore(t.Context(), dryRun, nowhere)
			require.NoError(t, err)
			require.Equal(t, []Restored{{Name: "a:1"}, {Name: "b:1"}}, restored)
		}
		got, err := s.List(t.Context())
		require.NoError(t, err)
		require.Equal(t, want, got)
		restored, err := s.Restore(t.Context(), false, nowhere)
		require.NoError(t, err)
		require.Empty(t, restored, "what is there is left alone")
	})
}

func TestAnImageThatLacksSomethingIsLeftOut(t *testing.T) {
	for name, c := range map[string]struct {
		harm func(t *testing.T, s *Store, img Image)
		says string
	}{
		"its manifest": {func(t *testing.T, s *Store, img Image) {
			t.Helper()
			require.NoError(t, os.Remove(s.blobs.path(img.Target.Digest)))
		}, "its manifest"},
		"its config": {func(t *testing.T, s *Store, img Image) {
			t.Helper()
			require.NoError(t, os.Remove(s.blobs.path(img.Config.Digest)))
		}, "its config"},
		"its snapshot": {func(t *testing.T, s *Store, img Image) {
			t.Helper()
			require.NoError(t, s.snaps.Remove(t.Context(), img.Snapshot))
		}, "its snapshot"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t, "vfs")
			m := newMaker(t)
			m.add(m.image(imageSpec{layers: threeLayers(t, tar.Gzip)}), "1")
			img := s.mustImport(t, m.dir(), ImportOptions{Name: "a:1"})
			forget(t, s)
			c.harm(t, s, img)
			restored, err := s.Restore(t.Context(), false, nowhere)
			require.NoError(t, err)
			require.Len(t, restored, 1)
			require.ErrorContains(t, restored[0].Err, c.says)
			list, err := s.List(t.Context())
			require.NoError(t, err)
			require.Empty(t, list)
		})
	}
}

// This must not keep the rest of the store from being repaired.
func TestAnUnreadableCopyOfTheListIsToldAndWrittenAgain(t *testing.T) {
	s := newStore(t, "vfs")
	m := newMaker(t)
	m.add(m.image(imageSpec{layers: threeLayers(t, tar.Gzip)}), "1")
	s.mustImport(t, m.dir(), ImportOptions{Name: "a:1"})
	sound, err := os.ReadFile(s.backupPath())
	require.NoError(t, err)
	wrong, err := s.CheckBackup(t.Context())
	require.NoError(t, err)
	require.Empty(t, wrong)

	require.NoError(t, os.WriteFile(s.backupPath(), []byte("[{"), 0o600))
	wrong, err = s.CheckBackup(t.Context())
	require.NoError(t, err)
	require.Len(t, wrong, 1)
	for _, dryRun := range []bool{true, false} {
		restored, err := s.Restore(t.Context(), dryRun, nowhere)
		require.NoError(t, err)
		require.Len(t, restored, 1)
		require.ErrorIs(t, restored[0].Err, ErrInvalid)
		require.ErrorContains(t, restored[0].Err, backupName)
	}
	now, err := os.ReadFile(s.backupPath())
	require.NoError(t, err)
	require.Equal(t, string(sound), string(now))
}

func TestACopyOfTheListThatSaysSomethingElseIsFound(t *testing.T) {
	s := newStore(t, "vfs")
	m := newMaker(t)
	m.add(m.image(imageSpec{layers: threeLayers(t, tar.Gzip)}), "1")
	img := s.mustImport(t, m.dir(), ImportOptions{Name: "a:1"})
	sound, err := os.ReadFile(s.backupPath())
	require.NoError(t, err)
	for was, is := range map[string]string{
		img.Config.Digest.Encoded()[:8]: "01234567",
		`"a:1"`:                         `"b:1"`,
	} {
		require.NoError(t, os.WriteFile(s.backupPath(), bytes.Replace(sound, []byte(was), []byte(is), 1), 0o600))
		wrong, err := s.CheckBackup(t.Context())
		require.NoError(t, err)
		require.Len(t, wrong, 1, was)
		require.NoError(t, os.WriteFile(s.backupPath(), sound, 0o600))
	}
	require.NoError(t, os.Remove(s.backupPath()))
	wrong, err := s.CheckBackup(t.Context())
	require.NoError(t, err)
	require.Empty(t, wrong)
}

// Everything that a lost image needs must exist when the image is restored.
func TestGarbageCollectionKeepsWhatLostImagesNeed(t *testing.T) {
	s := newStore(t, "vfs")
	m := newMaker(t)
	m.add(m.image(imageSpec{layers: threeLayers(t, tar.Gzip)}), "1")
	s.mustImport(t, m.dir(), ImportOptions{Name: "a:1"})
	forget(t, s)
	c, err := s.Collect(t.Context())
	require.NoError(t, err)
	require.Equal(t, Collected{}, c)

	// Importing another image does not make the store forget it either.
	other := newMaker(t)
	other.add(other.image(imageSpec{layers: threeLayers(t, tar.Zstd)[:1]}), "1")
	s.mustImport(t, other.dir(), ImportOptions{Name: "b:1"})
	_, err = s.Remove(t.Context(), "b:1")
	require.NoError(t, err)
	restored, err := s.Restore(t.Context(), true, nowhere)
	require.NoError(t, err)
	require.Equal(t, []Restored{{Name: "a:1"}}, restored)

	// Removing it by name does.
	c, err = s.Remove(t.Context(), "a:1")
	require.NoError(t, err)
	require.Len(t, c.Snapshots, 3)
	require.Equal(t, 5, c.Blobs)
	restored, err = s.Restore(t.Context(), false, nowhere)
	require.NoError(t, err)
	require.Empty(t, restored)
	_, err = s.Remove(t.Context(), "a:1")
	require.ErrorIs(t, err, ErrNotFound)
}

// Layers without a snapshot may belong to images whose names are not known
// either.
func TestNoBlobGoesWhileALayerHasNoSnapshot(t *testing.T) {
	s := newStore(t, "vfs")
	m := newMaker(t)
	m.add(m.image(imageSpec{layers: threeLayers(t, tar.Gzip)}), "1")
	s.mustImport(t, m.dir(), ImportOptions{Name: "a:1"})
	forget(t, s)
	require.NoError(t, os.Remove(s.backupPath()))
	require.NoError(t, s.snaps.Driver().Create(t.Context(), "77", nil, driver.CreateOptions{}))
	require.NoError(t, s.snaps.Close())
	// The layer was made without the snapshotter, which leaves a trace.
	require.NoError(t, os.Remove(filepath.Join(s.snaps.Root(), "meta.db"+meta.SumsSuffix)))
	s = reopen(t, s.snaps.Root(), "vfs")
	require.Equal(t, 1, s.snaps.Unnamed())
	c, err := s.Collect(t.Context())
	require.NoError(t, err)
	require.Zero(t, c.Blobs)
	_, err = s.snaps.Restore(t.Context(), false)
	require.NoError(t, err)
	c, err = s.Collect(t.Context())
	require.NoError(t, err)
	require.Equal(t, 5, c.Blobs)
}

func TestAStoreOfAnEarlierVersionGetsACopyOfItsList(t *testing.T) {
	s := newStore(t, "vfs")
	m := newMaker(t)
	m.add(m.image(imageSpec{layers: threeLayers(t, tar.Gzip)}), "1")
	s.mustImport(t, m.dir(), ImportOptions{Name: "a:1"})
	require.NoError(t, os.Remove(s.backupPath()))
	require.NoError(t, s.snaps.Close())
	s = reopen(t, s.snaps.Root(), "vfs")
	require.FileExists(t, s.backupPath())
	forget(t, s)
	restored, err := s.Restore(t.Context(), false, nowhere)
	require.NoError(t, err)
	require.Equal(t, []Restored{{Name: "a:1"}}, restored)
}

// After a crash directly after a rebuild, the store must not open without its
// images.
func TestADatabaseThatIsRebuiltHasItsImagesFromTheBeginning(t *testing.T) {
	onEachDriver(t, func(t *testing.T, s *Store) {
		m := newMaker(t)
		m.add(m.image(imageSpec{layers: threeLayers(t, tar.Gzip)}), "1")
		s.mustImport(t, m.dir(), ImportOptions{Name: "a:1"})
		lacking := s.mustImport(t, m.dir(), ImportOptions{Name: "b:1"})
		want, err := s.List(t.Context())
		require.NoError(t, err)
		list, err := os.ReadFile(s.backupPath())
		require.NoError(t, err)
		root, backend := s.snaps.Root(), s.snaps.Driver().Name()
		require.NoError(t, s.snaps.Close())
		var told []Restored
		rebuild := func(dryRun bool) *snapshotter.Snapshotter {
			t.Helper()
			require.NoError(t, os.RemoveAll(filepath.Join(root, "meta.db")))
			told = nil
			snaps, _, err := snapshotter.Rebuild(t.Context(), root, snapshotter.RebuildOptions{
				Options: snapshotter.Options{Driver: backend}, DryRun: dryRun,
				Records: Recover(root, func(all []Restored) { told = all }),
			})
			require.NoError(t, err)
			return snaps
		}
		require.Nil(t, rebuild(true))
		require.Equal(t, []Restored{{Name: "a:1"}, {Name: "b:1"}}, told)
		require.NoError(t, rebuild(false).Close())
		require.Equal(t, []Restored{{Name: "a:1"}, {Name: "b:1"}}, told)
		s = reopen(t, root, backend)
		got, err := s.List(t.Context())
		require.NoError(t, err)
		require.Equal(t, want, got)
		require.NoError(t, s.snaps.Close())

		// An incomplete image, and a copy that cannot be read, do not prevent the
		// recovery of the rest.
		require.NoError(t, os.Remove(s.blobs.path(lacking.Config.Digest)))
		require.NoError(t, rebuild(false).Close())
		require.Empty(t, told, "both images have this config")
		require.NoError(t, os.WriteFile(s.backupPath(), list[:len(list)/2], 0o600))
		snaps := rebuild(false)
		require.Len(t, told, 1, "the images lack their config")
		require.ErrorContains(t, told[0].Err, "names of the images")
		_, err = snaps.Stat(t.Context(), lacking.Snapshot)
		require.NoError(t, err)
		require.NoError(t, snaps.Close())
	})
}

// Only the database and the copy of the list have the names of images; the
// manifests have everything else. The next garbage collection must not remove
// an image without a name.
func TestImagesWhoseNamesAreLostGetOthers(t *testing.T) {
	m := newMaker(t)
	m.add(m.image(imageSpec{layers: threeLayers(t, tar.Gzip)}), "1")
	for name, spoil := range map[string]func(path string) error{
		"missing": os.Remove,
		"damaged": func(path string) error { return os.Truncate(path, 5) },
	} {
		for _, complete := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, manifests %v", name, complete), func(t *testing.T) {
				s := newStore(t, "vfs")
				img := s.mustImport(t, m.dir(), ImportOptions{Name: "a:1"})
				root := s.snaps.Root()
				require.NoError(t, s.snaps.Close())
				require.NoError(t, errors.Join(os.Remove(filepath.Join(root, "meta.db")), spoil(s.backupPath())))
				if !complete {
					require.NoError(t, os.Remove(s.blobs.path(img.Target.Digest)))
				}
				var told []Restored
				snaps, _, err := snapshotter.Rebuild(t.Context(), root, snapshotter.RebuildOptions{
					Options: snapshotter.Options{Driver: "vfs"}, Records: Recover(root, func(all []Restored) { told = all }),
				})
				require.NoError(t, err)
				require.NoError(t, snaps.Close())
				s = reopen(t, root, "vfs")
				restored, err := s.Restore(t.Context(), false, nowhere)
				require.NoError(t, err)
				told = append(told, restored...)
				require.NotEmpty(t, told)
				var problems []string
				for _, r := range told {
					if r.Err != nil {
						problems = append(problems, r.Err.Error())
					}
				}
				require.Contains(t, strings.Join(problems, "\n"), "names of the images")
				if !complete {
					require.Contains(t, strings.Join(problems, "\n"), "needs 3 of the snapshots")
					return
				}
				list, err := s.List(t.Context())
				require.NoError(t, err)
				require.Len(t, list, 1)
				require.Regexp(t, "^recovered:[0-9a-f]{16}$", list[0].Name)
				collected, err := s.Collect(t.Context())
				require.NoError(t, err)
				require.Empty(t, collected.Snapshots)
				got := list[0]
				got.Name, got.Imported = img.Name, img.Imported
				require.Equal(t, img, got)
				again := s.mustImport(t, m.dir(), ImportOptions{Name: "a:1"})
				require.Equal(t, img.Snapshot, again.Snapshot)
				copied, err := s.readBackup()
				require.NoError(t, err)
				require.Len(t, copied, 2)
			})
		}
	}
}
