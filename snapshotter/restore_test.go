package snapshotter

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

// lived makes a store with snapshots of every kind, and returns their rows.
func lived(t *testing.T, root string, disk *fakeDisk) map[string]meta.Snapshot {
	t.Helper()
	s := openAt(t, root, Options{open: disk.open})
	labels := snapshots.WithLabels(map[string]string{"a": "1"})
	require.NoError(t, s.Make(t.Context(), "base key", ""))
	require.NoError(t, s.Commit(t.Context(), "base", "base key", labels))
	active(t, s, "loose", "", "x")
	commit(t, s, "@eng/top", "base", "top")
	require.NoError(t, s.Commit(t.Context(), "rebased", "loose", snapshots.WithParent("@eng/top")))
	require.NoError(t, s.Make(t.Context(), "work", "rebased", labels))
	_, err := s.View(t.Context(), "view", "@eng/top")
	require.NoError(t, err)
	rows := rowsOf(t, s)
	require.NoError(t, s.Close())
	return rows
}

// requireRestored requires the rows of before, but for what no layer can tell.
func requireRestored(t *testing.T, before map[string]meta.Snapshot, s *Snapshotter) {
	t.Helper()
	after := rowsOf(t, s)
	require.ElementsMatch(t, slices.Collect(maps.Keys(before)), slices.Collect(maps.Keys(after)))
	for name, row := range before {
		got := after[name]
		require.Equal(t, got.Updated, got.Updated.UTC())
		row.ID, row.Updated, row.Digest = got.ID, got.Updated, ""
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
			none, done, err := Rebuild(t.Context(), root, Options{open: disk.open}, true)
			require.NoError(t, err)
			require.Nil(t, none)
			require.Len(t, done.Layers, len(before))
			require.Equal(t, files, contents(t, root), "a dry run changes nothing")

			s, done, err := Rebuild(t.Context(), root, Options{open: disk.open}, false)
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

			// It is a store like any other, and new layers get names of their own.
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
			_, _, err = Rebuild(t.Context(), root, Options{open: disk.open}, false)
			require.ErrorIs(t, err, ErrSound)
		})
	}
}

// An older copy of the database was put back: it does not name what was made since.
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
	s, done, err := Rebuild(t.Context(), root, Options{open: disk.open}, false)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	last := done.Layers[len(done.Layers)-1]
	require.Equal(t, layerOf(before["work"]), last.Layer)
	require.ErrorContains(t, last.Err, "is missing")
	require.Empty(t, last.Name)
	require.Len(t, rowsOf(t, s), len(before)-2)
	require.NotNil(t, disk.layers[last.Layer], "nothing is deleted")
}

// A header alone can be made again beside a database that is sound.
func TestALostHeaderIsMadeAgain(t *testing.T) {
	root := memDir(t)
	s, err := Open(t.Context(), root, Options{Driver: "vfs"})
	if errors.Is(err, driver.ErrUnsupported) {
		t.Skip(err)
	}
	require.NoError(t, err)
	require.NoError(t, s.Make(t.Context(), "key", ""))
	require.NoError(t, s.Commit(t.Context(), "done", "key"))
	before, id := rowsOf(t, s), s.id
	require.NoError(t, s.Close())
	require.NoError(t, os.Remove(filepath.Join(root, headerName)))
	_, err = Open(t.Context(), root, Options{})
	require.ErrorIs(t, err, ErrDamaged)
	s, done, err := Rebuild(t.Context(), root, Options{}, false)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	require.Empty(t, done.Layers)
	require.Empty(t, done.Old)
	require.True(t, done.Header)
	require.Equal(t, before, rowsOf(t, s))
	require.Equal(t, id, s.id)
}
