package meta

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func generation(t *testing.T, db *DB) (n uint64) {
	t.Helper()
	require.NoError(t, db.View(func(tx *Tx) (err error) {
		n, err = tx.Generation()
		return err
	}))
	return n
}

func TestTheGenerationGrowsAndCanBeRaised(t *testing.T) {
	path := filepath.Join(t.TempDir(), "meta.db")
	db, err := Create(path)
	require.NoError(t, err)
	before := generation(t, db)
	require.NoError(t, db.Update(func(tx *Tx) error { return tx.SetStore("s") }))
	require.Greater(t, generation(t, db), before)

	var raised uint64
	require.NoError(t, db.Update(func(tx *Tx) (err error) {
		if err := tx.RaiseGeneration(1000); err != nil {
			return err
		}
		raised, err = tx.Generation()
		return err
	}))
	require.EqualValues(t, 1000, raised)
	require.EqualValues(t, 1000, generation(t, db))
	require.NoError(t, db.Update(func(tx *Tx) error { return tx.RaiseGeneration(10) }))
	require.EqualValues(t, 1001, generation(t, db))
	require.NoError(t, db.Close())

	db, err = Open(path)
	require.NoError(t, err)
	require.EqualValues(t, 1001, generation(t, db))
	require.NoError(t, db.Close())
}
