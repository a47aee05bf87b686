package meta

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"
)

// versionOf reads the version in the way of a program that knows only one
// version.
func versionOf(t *testing.T, db *DB) (version uint64) {
	t.Helper()
	require.NoError(t, db.bolt.View(func(tx *bbolt.Tx) error {
		version = binary.BigEndian.Uint64(tx.Bucket(bucketStore).Get(keyVersion))
		return nil
	}))
	return version
}

func TestAnOlderProgramDoesNotOpenADatabaseAsLongAsItHasRowsOfOtherStores(t *testing.T) {
	path := t.TempDir() + "/meta.db"
	db, err := Create(path)
	require.NoError(t, err)
	borrowed := Snapshot{Name: "base", Layer: "OTHER.1", Store: "OTHER", Origin: "base", Kind: Committed, State: Ready}
	update := func(fn func(tx *Tx) error) {
		t.Helper()
		require.NoError(t, db.Update(fn))
	}
	sound := func(want int64) {
		t.Helper()
		require.NoError(t, db.View(func(tx *Tx) error {
			var rows []Snapshot
			require.NoError(t, tx.WalkSnapshots(func(s Snapshot) error { rows = append(rows, s); return nil }))
			n, err := tx.Borrowed()
			require.NoError(t, err)
			require.Equal(t, want, n)
			return tx.CheckRows(rows)
		}))
	}
	require.EqualValues(t, Version, versionOf(t, db))
	update(func(tx *Tx) error {
		_, err := tx.CreateSnapshot(Snapshot{Name: "own", Kind: Committed, State: Ready})
		return err
	})
	require.EqualValues(t, Version, versionOf(t, db))
	sound(0)
	update(func(tx *Tx) error {
		_, err := tx.CreateSnapshot(borrowed)
		return err
	})
	update(func(tx *Tx) error {
		second := borrowed
		second.Name, second.Layer, second.Parent = "second", "OTHER.2", "base"
		_, err := tx.CreateSnapshot(second)
		return err
	})
	require.EqualValues(t, VersionBorrowed, versionOf(t, db))
	sound(2)
	require.ErrorIs(t, db.Update(func(tx *Tx) error {
		require.NoError(t, tx.DeleteSnapshot("second"))
		return ErrExists
	}), ErrExists)
	sound(2)
	require.NoError(t, db.Close())
	db, err = Open(path)
	require.NoError(t, err)
	update(func(tx *Tx) error {
		row, err := tx.Snapshot("second")
		require.NoError(t, err)
		row.Name = "renamed"
		return tx.RenameSnapshot("second", row)
	})
	sound(2)
	update(func(tx *Tx) error { return tx.DeleteSnapshot("renamed") })
	require.EqualValues(t, VersionBorrowed, versionOf(t, db))
	update(func(tx *Tx) error { return tx.DeleteSnapshot("base") })
	require.EqualValues(t, Version, versionOf(t, db))
	sound(0)

	require.NoError(t, db.bolt.Update(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketStore).Put(keyBorrowed, binary.BigEndian.AppendUint64(nil, 3))
	}))
	require.ErrorIs(t, db.View(func(tx *Tx) error { return tx.checkBorrowed(0) }), ErrDamaged)
	require.NoError(t, db.Close())
}
