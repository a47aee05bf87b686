package snapshotter

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

func storeOf(t *testing.T, s *Snapshotter) (id string, generation uint64) {
	t.Helper()
	require.NoError(t, s.db.View(func(tx *meta.Tx) (err error) {
		id = tx.Store()
		generation, err = tx.Generation()
		return err
	}))
	return id, generation
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	raw, err := os.ReadFile(from)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(to, raw, 0o600))
}

func TestAStoreHasAnIDInItsHeaderAndDatabase(t *testing.T) {
	root, disk := memDir(t), newFakeDisk()
	s := openAt(t, root, Options{open: disk.open})
	id, _ := storeOf(t, s)
	require.NotEmpty(t, id)
	require.Equal(t, id, s.id)
	require.NoError(t, s.Close())
	head, err := readHeader(root)
	require.NoError(t, err)
	require.Equal(t, id, head.ID)
	s = openAt(t, root, Options{open: disk.open})
	again, _ := storeOf(t, s)
	require.Equal(t, id, again)
}

// Header or database can be of an earlier version, which knew no IDs, or can
// have been rewritten by one.
func TestTheIDIsTakenFromWhereItIs(t *testing.T) {
	for name, forget := range map[string]func(t *testing.T, root string){
		"not in the header": func(t *testing.T, root string) {
			t.Helper()
			head, err := readHeader(root)
			require.NoError(t, err)
			head.ID, head.Generation = "", 0
			require.NoError(t, writeHeader(root, head))
		},
		"not in the database": func(t *testing.T, root string) {
			t.Helper()
			db, err := meta.Open(filepath.Join(root, metaName))
			require.NoError(t, err)
			require.NoError(t, db.Update(func(tx *meta.Tx) error { return tx.SetStore("") }))
			require.NoError(t, db.Close())
		},
	} {
		t.Run(name, func(t *testing.T) {
			root, disk := memDir(t), newFakeDisk()
			s := openAt(t, root, Options{open: disk.open})
			id := s.id
			require.NoError(t, s.Close())
			forget(t, root)
			s = openAt(t, root, Options{open: disk.open})
			again, _ := storeOf(t, s)
			require.Equal(t, id, again)
			require.NoError(t, s.Close())
			head, err := readHeader(root)
			require.NoError(t, err)
			require.Equal(t, id, head.ID)
		})
	}
}

func TestTheDatabaseOfAnotherStoreIsRefused(t *testing.T) {
	root, other, disk := memDir(t), memDir(t), newFakeDisk()
	for _, dir := range []string{root, other} {
		require.NoError(t, openAt(t, dir, Options{open: disk.open}).Close())
	}
	copyFile(t, filepath.Join(other, metaName), filepath.Join(root, metaName))
	_, err := Open(t.Context(), root, Options{open: disk.open})
	require.ErrorIs(t, err, ErrDamaged)
	require.ErrorContains(t, err, "is of the store")
}

func TestADatabaseOlderThanTheHeaderIsSaid(t *testing.T) {
	root, disk := memDir(t), newFakeDisk()
	s := openAt(t, root, Options{open: disk.open})
	_, generation := storeOf(t, s)
	require.NoError(t, s.Close())
	head, err := readHeader(root)
	require.NoError(t, err)
	require.LessOrEqual(t, head.Generation, generation)
	for _, later := range []bool{false, true} {
		head.Generation = generation
		if later {
			head.Generation++
		}
		require.NoError(t, writeHeader(root, head))
		var said bytes.Buffer
		s = openAt(t, root, Options{open: disk.open, Logger: slog.New(slog.NewTextHandler(&said, nil))})
		require.NoError(t, s.Close())
		if later {
			require.Contains(t, said.String(), "the database is older than this store")
		} else {
			require.NotContains(t, said.String(), "older")
		}
	}
}
