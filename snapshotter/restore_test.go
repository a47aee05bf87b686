package snapshotter

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

// lived makes a store with snapshots of every kind, and returns their rows.
func lived(t *testing.T, root string, disk *fakeDisk) map[string]meta.Snapshot {
	t.Helper()
	s := openAt(t, root, Options{open: disk.open})
	labels := snapshots.WithLabels(map[string]string{"a": "1"})
	require.NoError(t, s.Create(t.Context(), "base key", ""))
	require.NoError(t, s.Commit(t.Context(), "base", "base key", labels))
	active(t, s, "loose", "", "x")
	commit(t, s, "@eng/top", "base", "top")
	require.NoError(t, s.Commit(t.Context(), "rebased", "loose", snapshots.WithParent("@eng/top")))
	require.NoError(t, s.Create(t.Context(), "work", "rebased", labels))
	_, err := s.View(t.Context(), "view", "@eng/top")
	require.NoError(t, err)
	rows := rowsOf(t, s)
	require.NoError(t, s.Close())
	return rows
}

// requireRestored requires the same rows as before, except for the fields that
// no record has.
func requireRestored(t *testing.T, before map[string]meta.Snapshot, s *Snapshotter) {
	t.Helper()
	after := rowsOf(t, s)
	require.ElementsMatch(t, slices.Collect(maps.Keys(before)), slices.Collect(maps.Keys(after)))
	for name, row := range before {
		got := after[name]
		require.Equal(t, got.Updated, got.Updated.UTC())
		row.ID, row.Updated = got.ID, got.Updated
		require.Equal(t, row, got, name)
	}
	requireSound(t, s)
}

func TestALostDatabaseIsMadeAgainFromTheLayers(t *testing.T) {
	for name, lose := range map[string]func(t *testing.T, root string){
		"an empty database": func(t *testing.T, root string) {
			t.Helper()
			require.NoError(t, os.Truncate(filepath.Join(root, metaName), 0))
		},
		"no database": func(t *testing.T, root string) {
			t.Helper()
			require.NoError(t, os.Remove(filepath.Join(root, metaName)))
		},
		"a damaged database": func(t *testing.T, root string) {
			t.Helper()
			require.NoError(t, os.WriteFile(filepath.Join(root, metaName), make([]byte, 1<<16), 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			root, disk := memDir(t), newFakeDisk()
			before := lived(t, root, disk)
			lose(t, root)
			_, err := Open(t.Context(), root, Options{open: disk.open})
			require.ErrorIs(t, err, ErrDamaged)

			files := contents(t, root)
			none, done, err := Rebuild(t.Context(), root, RebuildOptions{Options: Options{open: disk.open}, DryRun: true})
			require.NoError(t, err)
			require.Nil(t, none)
			require.Len(t, done.Layers, len(before))
			require.Equal(t, files, contents(t, root), "a dry run changes nothing")

			s, done, err := Rebuild(t.Context(), root, RebuildOptions{Options: Options{open: disk.open}})
			require.NoError(t, err)
			require.Len(t, done.Layers, len(before))
			if name == "no database" {
				require.Empty(t, done.Old)
			} else {
				require.FileExists(t, done.Old)
			}
			requireRestored(t, before, s)
			id := s.id
			require.NotEmpty(t, id)
			require.NoError(t, s.Close())

			// The store works like any other, and new layers get new IDs.
			s = openAt(t, root, Options{open: disk.open})
			require.Equal(t, id, s.id)
			commit(t, s, "more", "rebased", "more")
			requireSound(t, s)
			all, err := s.Inspect(t.Context())
			require.NoError(t, err)
			for _, l := range all {
				require.Empty(t, l.Faults, l.Name)
			}
			require.NoError(t, s.Close())
			_, _, err = Rebuild(t.Context(), root, RebuildOptions{Options: Options{open: disk.open}})
			require.ErrorIs(t, err, ErrSound)
		})
	}
}

// An older copy of the database was put back. It does not have the snapshots
// that were made since.
func TestLayersThatAnOlderDatabaseDoesNotNameAreSnapshotsAgain(t *testing.T) {
	root, disk := memDir(t), newFakeDisk()
	s := openAt(t, root, Options{open: disk.open})
	commit(t, s, "base", "", "base")
	require.NoError(t, s.Close())
	path := filepath.Join(root, metaName)
	copyFile(t, path, path+".copy")
	s = openAt(t, root, Options{open: disk.open})
	commit(t, s, "newer", "base", "newer")
	active(t, s, "work", "newer", "work")
	before := rowsOf(t, s)
	require.NoError(t, s.Close())
	copyFile(t, path+".copy", path)
	require.NoError(t, os.Remove(path+".copy"))

	s = openAt(t, root, Options{open: disk.open})
	all, err := s.Inspect(t.Context())
	require.NoError(t, err)
	require.Len(t, all, 3)
	require.ErrorIs(t, all[1].Faults[0], ErrLayerUnnamed)
	require.ErrorContains(t, all[1].Faults[0], "is newer than the database")
	for _, dryRun := range []bool{true, false} {
		layers, err := s.Restore(t.Context(), dryRun)
		require.NoError(t, err)
		require.Len(t, layers, 2)
		require.Equal(t, Restored{Layer: layers[0].Layer, Name: "newer", Kind: meta.Committed}, layers[0])
		require.Equal(t, Restored{Layer: layers[1].Layer, Name: "work", Kind: meta.Active}, layers[1])
	}
	after := rowsOf(t, s)
	require.Len(t, after, 3)
	for _, name := range []string{"newer", "work"} {
		require.Equal(t, before[name].Parent, after[name].Parent)
		require.Equal(t, before[name].Layer, after[name].Layer)
	}
	requireSound(t, s)
	layers, err := s.Restore(t.Context(), false)
	require.NoError(t, err)
	require.Empty(t, layers)
}

func TestALayerWhoseNameIsTakenOrUnknownGetsAnother(t *testing.T) {
	root, disk := memDir(t), newFakeDisk()
	s := openAt(t, root, Options{open: disk.open})
	commit(t, s, "a", "", "a")
	row, err := s.row("a")
	require.NoError(t, err)
	record, err := s.driver.(driver.Recorder).Record(t.Context(), layerOf(row))
	require.NoError(t, err)
	create := func(id driver.ID, parents []driver.ID, opts driver.CreateOptions) {
		require.NoError(t, s.driver.Create(t.Context(), id, parents, opts))
	}
	create("70", nil, driver.CreateOptions{Note: record.Note})
	create("71", []driver.ID{layerOf(row)}, driver.CreateOptions{})
	create("72", []driver.ID{layerOf(row)}, driver.CreateOptions{Note: []byte(`{"name":`)})
	layers, err := s.Restore(t.Context(), false)
	require.NoError(t, err)
	require.Equal(t, []Restored{
		{Layer: "70", Name: "restored-70", Kind: meta.Active, Renamed: true},
		{Layer: "71", Name: "restored-71", Kind: meta.Active, Renamed: true},
		{Layer: "72", Name: "restored-72", Kind: meta.Active, Renamed: true},
	}, layers)
	require.Equal(t, "a", rowsOf(t, s)["restored-71"].Parent)
	requireSound(t, s)
}

func TestALayerWithoutItsParentStaysAsItIs(t *testing.T) {
	root, disk := memDir(t), newFakeDisk()
	before := lived(t, root, disk)
	require.NoError(t, os.Remove(filepath.Join(root, metaName)))
	delete(disk.layers, layerOf(before["rebased"]))
	s, done, err := Rebuild(t.Context(), root, RebuildOptions{Options: Options{open: disk.open}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	last := done.Layers[len(done.Layers)-1]
	require.Equal(t, layerOf(before["work"]), last.Layer)
	require.ErrorContains(t, last.Err, "is missing")
	require.Empty(t, last.Name)
	require.Len(t, rowsOf(t, s), len(before)-2)
	require.NotNil(t, disk.layers[last.Layer], "nothing is deleted")
}

// A lost header is made again when the database is sound.
func TestALostHeaderIsMadeAgain(t *testing.T) {
	root := memDir(t)
	s, err := Open(t.Context(), root, Options{Driver: "vfs"})
	if errors.Is(err, driver.ErrUnsupported) {
		t.Skip(err)
	}
	require.NoError(t, err)
	require.NoError(t, s.Create(t.Context(), "key", ""))
	require.NoError(t, s.Commit(t.Context(), "done", "key"))
	before, id := rowsOf(t, s), s.id
	require.NoError(t, s.Close())
	require.NoError(t, os.Remove(filepath.Join(root, headerName)))
	_, err = Open(t.Context(), root, Options{})
	require.ErrorIs(t, err, ErrDamaged)
	s, done, err := Rebuild(t.Context(), root, RebuildOptions{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	require.Empty(t, done.Layers)
	require.Empty(t, done.Old)
	require.True(t, done.Header)
	require.Equal(t, before, rowsOf(t, s))
	require.Equal(t, id, s.id)
}

// Header and database may belong to different stores. The records of the layers
// show which of the two belongs here.
func TestTheRecordsTellWhetherHeaderOrDatabaseIsOfAnotherStore(t *testing.T) {
	for _, wrong := range []string{headerName, metaName} {
		for _, dryRun := range []bool{true, false} {
			root, other := memDir(t), memDir(t)
			for _, dir := range []string{root, other} {
				s, err := Open(t.Context(), dir, Options{Driver: "vfs"})
				if errors.Is(err, driver.ErrUnsupported) {
					t.Skip(err)
				}
				require.NoError(t, err)
				require.NoError(t, s.Create(t.Context(), "key", ""))
				require.NoError(t, s.Commit(t.Context(), "done", "key"))
				require.NoError(t, s.Close())
			}
			sound, err := readHeader(root)
			require.NoError(t, err)
			copyFile(t, filepath.Join(other, wrong), filepath.Join(root, wrong))
			_, err = Open(t.Context(), root, Options{})
			require.ErrorIs(t, err, ErrDamaged)
			s, done, err := Rebuild(t.Context(), root, RebuildOptions{DryRun: dryRun})
			require.NoError(t, err)
			require.Equal(t, wrong == headerName, done.Header, wrong)
			require.Len(t, done.Layers, map[string]int{headerName: 0, metaName: 1}[wrong])
			if dryRun {
				continue
			}
			require.Equal(t, wrong == metaName, done.Old != "")
			require.Equal(t, sound.ID, s.id)
			require.NoError(t, s.Close())
			s, err = Open(t.Context(), root, Options{})
			require.NoError(t, err)
			_, err = s.Stat(t.Context(), "done")
			require.NoError(t, err)
			require.NoError(t, s.Close())
		}
	}
}

// A store that cannot be opened for another reason than damage is not changed.
func TestADatabaseThatIsNotDamagedIsNotReplaced(t *testing.T) {
	for name, c := range map[string]struct {
		harm func(t *testing.T, path string)
		want error
	}{
		"of a newer version": {func(t *testing.T, path string) {
			t.Helper()
			b, err := bbolt.Open(path, 0o600, nil)
			require.NoError(t, err)
			require.NoError(t, b.Update(func(tx *bbolt.Tx) error {
				return tx.Bucket([]byte("store")).Put([]byte("version"), []byte{0, 0, 0, 0, 0, 0, 0, 99})
			}))
			require.NoError(t, b.Close())
		}, meta.ErrNewer},
		"in use": {func(t *testing.T, path string) {
			t.Helper()
			b, err := bbolt.Open(path, 0o600, nil)
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, b.Close()) })
		}, meta.ErrInUse},
	} {
		for _, header := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, with a header: %v", name, header), func(t *testing.T) {
				root := memDir(t)
				s, err := Open(t.Context(), root, Options{Driver: "vfs"})
				if errors.Is(err, driver.ErrUnsupported) {
					t.Skip(err)
				}
				require.NoError(t, err)
				require.NoError(t, s.Create(t.Context(), "key", ""))
				require.NoError(t, s.Close())
				path := filepath.Join(root, metaName)
				c.harm(t, path)
				if !header {
					require.NoError(t, os.Remove(filepath.Join(root, headerName)))
				}
				before, err := os.ReadFile(path)
				require.NoError(t, err)
				for _, dryRun := range []bool{true, false} {
					_, _, err = Rebuild(t.Context(), root, RebuildOptions{DryRun: dryRun})
					require.ErrorIs(t, err, c.want)
				}
				after, err := os.ReadFile(path)
				require.NoError(t, err)
				require.Equal(t, before, after)
				aside, err := filepath.Glob(path + damagedInfix + "*")
				require.NoError(t, err)
				require.Empty(t, aside, "nothing was put aside")
			})
		}
	}
}

// Open finds damage in a row that the check of the pages does not find.
func TestADatabaseWithADamagedRowIsReplaced(t *testing.T) {
	root, disk := memDir(t), newFakeDisk()
	before := lived(t, root, disk)
	path := filepath.Join(root, metaName)
	b, err := bbolt.Open(path, 0o600, nil)
	require.NoError(t, err)
	require.NoError(t, b.Update(func(tx *bbolt.Tx) error {
		rows := tx.Bucket([]byte("snapshots"))
		return rows.Put([]byte("work"), bytes.Replace(rows.Get([]byte("work")), []byte("active"), []byte("activE"), 1))
	}))
	require.NoError(t, b.Close())
	_, err = Open(t.Context(), root, Options{open: disk.open})
	require.ErrorIs(t, err, ErrDamaged)
	s, done, err := Rebuild(t.Context(), root, RebuildOptions{Options: Options{open: disk.open}})
	require.NoError(t, err)
	require.FileExists(t, done.Old)
	requireRestored(t, before, s)
	require.NoError(t, s.Close())

	// A second one in the same second gets another name.
	require.NoError(t, os.WriteFile(path, make([]byte, 1<<16), 0o600))
	s, again, err := Rebuild(t.Context(), root, RebuildOptions{Options: Options{open: disk.open}})
	require.NoError(t, err)
	require.NoError(t, s.Close())
	require.NotEqual(t, done.Old, again.Old)
	require.FileExists(t, done.Old)
	require.FileExists(t, again.Old)
}

func TestADirectoryThatIsNoStoreIsNotMadeOne(t *testing.T) {
	root := memDir(t)
	require.NoError(t, os.Chmod(root, 0o755)) //nolint:gosec // the test needs this mode
	for _, dir := range []string{root, filepath.Join(root, "missing")} {
		_, _, err := Rebuild(t.Context(), dir, RebuildOptions{DryRun: true})
		require.Error(t, err)
	}
	info, err := os.Stat(root)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o755), info.Mode().Perm())
	require.Empty(t, contents(t, root))
	require.NoDirExists(t, filepath.Join(root, "missing"))
}

func TestTheNewestOfTwoLayersHasTheName(t *testing.T) {
	root, disk := memDir(t), newFakeDisk()
	s := openAt(t, root, Options{open: disk.open})
	sc, err := s.Scope("eng")
	require.NoError(t, err)
	_, err = sc.Prepare(t.Context(), "key", "")
	require.NoError(t, err)
	require.NoError(t, sc.Commit(t.Context(), "top", "key"))
	old, err := s.row(sc.Full("top"))
	require.NoError(t, err)
	disk.layers[layerOf(old)].busy = true
	require.NoError(t, sc.Remove(t.Context(), "top"))
	_, err = sc.Prepare(t.Context(), "key", "")
	require.NoError(t, err)
	require.NoError(t, sc.Commit(t.Context(), "top", "key"))
	want, err := s.row(sc.Full("top"))
	require.NoError(t, err)
	require.NotEqual(t, old.Layer, want.Layer)
	require.NoError(t, s.Close())
	require.NoError(t, os.Remove(filepath.Join(root, metaName)))

	s, _, err = Rebuild(t.Context(), root, RebuildOptions{Options: Options{open: disk.open}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	rows := rowsOf(t, s)
	require.Equal(t, want.Layer, rows[sc.Full("top")].Layer)
	require.Equal(t, old.Layer, rows[restoredPrefix+old.Layer].Layer)
	requireSound(t, s)
}

// A deferred layer is still empty, so it must not become the committed layer of
// that name.
func TestWhatWasBeingUnpackedCannotBeCommittedAfterwards(t *testing.T) {
	root, disk := memDir(t), newFakeDisk()
	s := openAt(t, root, Options{open: disk.open})
	sc := rereading(t, s)
	commit(t, s, sc.Full("base"), "", "base")
	require.NoError(t, extract(t, sc, "extract-1", needy))
	require.NoError(t, s.Close())
	require.NoError(t, os.Remove(filepath.Join(root, metaName)))
	s, _, err := Rebuild(t.Context(), root, RebuildOptions{Options: Options{open: disk.open}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	sc, err = s.Scope("eng")
	require.NoError(t, err)
	require.ErrorIs(t, sc.Commit(t.Context(), "top", "extract-1", snapshots.WithParent("base")), driver.ErrNeedsParents)
	require.NoError(t, sc.Remove(t.Context(), "extract-1"))
}

// The row in an older copy says that the layer is being made. By now the layer
// is committed.
func TestALayerThatWasFinishedSinceTheDatabaseStays(t *testing.T) {
	root, disk := memDir(t), newFakeDisk()
	path := filepath.Join(root, metaName)
	s := openAt(t, root, Options{open: disk.open, hook: func(point string) error {
		if point == "activate before" {
			copyFile(t, path, path+".copy")
		}
		return nil
	}})
	require.NoError(t, s.Create(t.Context(), "key", ""))
	require.NoError(t, s.Commit(t.Context(), "done", "key"))
	require.NoError(t, s.Close())
	require.NoError(t, os.Rename(path+".copy", path))
	require.Len(t, disk.layers, 1)

	s = openAt(t, root, Options{open: disk.open})
	require.Len(t, disk.layers, 1)
	require.Empty(t, rowsOf(t, s))
	require.NoError(t, s.Close())
	s = openAt(t, root, Options{open: disk.open})
	require.Equal(t, 1, s.Unnamed())
	restored, err := s.Restore(t.Context(), false)
	require.NoError(t, err)
	require.Len(t, restored, 1)
	require.Equal(t, "done", restored[0].Name)
	require.Zero(t, s.Unnamed())
	requireSound(t, s)
}

// Layers without records cannot become snapshots. But a new store over them
// would hide that they exist.
func TestAStoreThatHasLostAllItsRecordsIsNoNewOne(t *testing.T) {
	for _, header := range []bool{false, true} {
		t.Run(fmt.Sprintf("with a header: %v", header), func(t *testing.T) {
			root := memDir(t)
			s, err := Open(t.Context(), root, Options{Driver: "vfs"})
			if errors.Is(err, driver.ErrUnsupported) {
				t.Skip(err)
			}
			require.NoError(t, err)
			commit(t, s, "done", "", layerTar("done"))
			active(t, s, "work", "done", layerTar("work"))
			require.NoError(t, s.Close())
			lost, err := filepath.Glob(filepath.Join(root, metaName+"*"))
			require.NoError(t, err)
			records, err := filepath.Glob(filepath.Join(root, "vfs", "*", "layer.json"))
			require.NoError(t, err)
			require.Len(t, records, 2)
			if !header {
				lost = append(lost, filepath.Join(root, headerName))
			}
			for _, path := range append(lost, records...) {
				require.NoError(t, os.Remove(path))
			}
			left := contents(t, filepath.Join(root, "vfs"))
			_, err = Open(t.Context(), root, Options{})
			require.ErrorIs(t, err, ErrDamaged)
			if !header {
				require.ErrorContains(t, err, headerName)
			}
			for _, dryRun := range []bool{true, false} {
				rebuilt, done, err := Rebuild(t.Context(), root, RebuildOptions{DryRun: dryRun})
				require.NoError(t, err)
				require.Equal(t, !header, done.Header)
				require.Len(t, done.Layers, 2)
				for _, l := range done.Layers {
					require.ErrorIs(t, l.Err, ErrNoRecord)
					require.Empty(t, l.Name)
				}
				s = rebuilt
			}
			require.Subset(t, contents(t, filepath.Join(root, "vfs")), left, "nothing is deleted")
			require.Empty(t, rowsOf(t, s))
			commit(t, s, "new", "", layerTar("new"))
			require.NotContains(t, []string{"1", "2"}, rowsOf(t, s)["new"].Layer, "the names of the old layers stay theirs")
			layers, err := s.Restore(t.Context(), false)
			require.NoError(t, err)
			require.Len(t, layers, 2)
			require.NoError(t, s.Close())
			require.Subset(t, contents(t, filepath.Join(root, "vfs")), left, "nothing is deleted")
		})
	}
}
