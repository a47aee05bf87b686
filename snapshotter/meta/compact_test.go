package meta

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func sizeOf(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	return info.Size()
}

// emptied makes a database from which nearly everything was removed.
func emptied(t *testing.T) (path string, db *DB, left []Snapshot) {
	t.Helper()
	path = largeChains(t, 2000, 3000)
	db = reopen(t, path)
	require.NoError(t, db.Update(func(tx *Tx) error {
		for i := 1999; i >= 30; i-- {
			if err := tx.DeleteSnapshot(snapshotName(i)); err != nil {
				return err
			}
		}
		return nil
	}))
	require.NoError(t, db.View(func(tx *Tx) (err error) { left, err = rowsOf(tx); return err }))
	require.Len(t, left, 30)
	return path, db, left
}

func TestADatabaseShrinksWhenMostOfItIsFree(t *testing.T) {
	path, db, left := emptied(t)
	before, was := sizeOf(t, path), generation(t, db)
	require.GreaterOrEqual(t, before, int64(6<<20))
	var sequence uint64
	require.NoError(t, db.View(func(tx *Tx) error { sequence = tx.snapshots().Sequence(); return nil }))

	done, err := db.Compact()
	require.NoError(t, err)
	require.True(t, done)
	require.LessOrEqual(t, sizeOf(t, path), int64(256<<10))
	require.NoFileExists(t, compactedPath(path))
	require.Greater(t, generation(t, db), was, "records of layers name earlier ones")
	for _, again := range []bool{false, true} {
		require.NoError(t, db.View(func(tx *Tx) error {
			rows, err := rowsOf(tx)
			require.Equal(t, left, rows)
			require.Equal(t, sequence, tx.snapshots().Sequence(), "no ID is given twice")
			return errors.Join(err, tx.CheckRows(rows), tx.GetRecord("images", "i", &map[string]string{}))
		}))
		require.NoError(t, db.Check(func(err error) { require.NoError(t, err) }))
		if !again {
			require.NoError(t, db.Update(func(tx *Tx) error { return tx.PutRecord("images", "j", map[string]int{}) }))
			settle(t, db)
			requireSums(t, path)
			db = reopen(t, path)
			requireLazy(t, db)
		}
	}
	done, err = db.Compact()
	require.NoError(t, err)
	require.False(t, done, "there is nothing to gain")
	require.NoError(t, db.Close())
}

// Transactions of several callers run at the same time.
func TestNothingIsLostThatIsWrittenAroundACompaction(t *testing.T) {
	path, db, _ := emptied(t)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 50 {
				require.NoError(t, db.Update(func(tx *Tx) error {
					_, err := tx.CreateSnapshot(Snapshot{Name: snapshotName(100_000 + 1000*w + i), State: Ready})
					return err
				}))
			}
		})
	}
	done := false
	for !done {
		var err error
		done, err = db.Compact()
		require.NoError(t, err)
	}
	wg.Wait()
	settle(t, db)
	requireSums(t, path)
	db = reopen(t, path)
	require.NoError(t, db.View(func(tx *Tx) error {
		rows, err := rowsOf(tx)
		require.Len(t, rows, 30+200)
		return err
	}))
	require.NoError(t, db.Close())
}

// When the copy fails, for example on a full disk, the database stays as it is
// and still works.
func TestACompactionThatFailsLeavesTheDatabase(t *testing.T) {
	path, db, left := emptied(t)
	before := sizeOf(t, path)
	require.NoError(t, os.MkdirAll(filepath.Join(compactedPath(path), "in the way"), 0o700))
	_, err := db.Compact()
	require.Error(t, err)
	require.Equal(t, before, sizeOf(t, path))
	require.NoError(t, db.Update(func(tx *Tx) error { return tx.PutRecord("images", "j", map[string]int{}) }))
	settle(t, db)
	db = reopen(t, path)
	require.NoError(t, db.View(func(tx *Tx) error {
		rows, err := rowsOf(tx)
		require.Equal(t, left, rows)
		return err
	}))
	require.NoError(t, db.Close())
}

func TestWhatAKilledCompactionLeftIsRemoved(t *testing.T) {
	path := chains(t, 10)
	require.NoError(t, os.WriteFile(compactedPath(path), []byte("half of it"), 0o600))
	db := reopen(t, path)
	require.NoFileExists(t, compactedPath(path))
	require.NoError(t, db.Close())
}

func TestADamagedDatabaseIsNotCompacted(t *testing.T) {
	path, db, _ := emptied(t)
	settle(t, db)
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	f, err := os.Open(path)
	require.NoError(t, err)
	m, err := currentMeta(f, int64(len(raw)))
	require.NoError(t, err)
	w, err := checkPages(f, m)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	for page := len(w.sums) - 1; page > 2; page-- { // a leaf with a row in its last bytes
		at := page * 4096
		if w.sums[page] != 0 && raw[at+8] == flagLeaf {
			raw[at+16+4] ^= 0x80
			break
		}
	}
	require.NoError(t, os.WriteFile(path, raw, 0o600))
	remark(t, path)
	db, err = Open(path)
	if err == nil {
		_, err = db.Compact()
		require.NoError(t, db.Close())
	}
	require.ErrorIs(t, err, ErrDamaged)
	require.EqualValues(t, len(raw), sizeOf(t, path))
}
