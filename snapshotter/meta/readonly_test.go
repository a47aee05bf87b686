package meta_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

func TestADatabaseIsReadByManyAndChangedByNoneOfThem(t *testing.T) {
	path := filepath.Join(t.TempDir(), "meta.db")
	db, err := meta.Create(path)
	require.NoError(t, err)
	require.NoError(t, db.Update(func(tx *meta.Tx) error {
		_, err := tx.CreateSnapshot(meta.Snapshot{Name: "a", Kind: meta.Active, State: meta.Ready})
		return err
	}))
	require.NoError(t, db.Close())
	before, err := os.ReadFile(path)
	require.NoError(t, err)

	for range 2 {
		db, err := meta.OpenReadOnly(path)
		require.NoError(t, err)
		defer func() { require.NoError(t, db.Close()) }()
		require.NoError(t, db.View(func(tx *meta.Tx) error { _, err := tx.Snapshot("a"); return err }))
		for _, change := range []func() error{
			func() error { return db.Update(func(*meta.Tx) error { return nil }) },
			func() error { return db.Free(func(*meta.Tx) error { return nil }) },
			db.Reserve,
		} {
			require.ErrorIs(t, change(), meta.ErrReadOnly)
			require.ErrorIs(t, change(), syscall.EROFS)
		}
	}
	_, err = meta.Open(path)
	require.ErrorIs(t, err, meta.ErrInUse)
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, before, after)
	entries, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, entries, 1, "there is no reserve")
	_, err = meta.OpenReadOnly(path + ".missing")
	require.ErrorIs(t, err, fs.ErrNotExist)
}
