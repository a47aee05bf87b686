package meta

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/internal/fstest"
)

// settle closes a database with a mark, as a store does that was found sound.
func settle(t *testing.T, db *DB) {
	t.Helper()
	require.NoError(t, db.View(func(tx *Tx) error {
		rows, err := rowsOf(tx)
		return errors.Join(err, tx.CheckRows(rows))
	}))
	db.Settle("stamp")
	require.NoError(t, db.Close())
}

func rowsOf(tx *Tx) (rows []Snapshot, err error) {
	err = tx.WalkSnapshots(func(row Snapshot) error {
		rows = append(rows, row)
		return nil
	})
	return rows, err
}

// chains makes a settled database with chains of three snapshots.
func chains(t *testing.T, n int) (path string) {
	t.Helper()
	return largeChains(t, n, 64)
}

// largeChains is chains with labels of that many bytes.
func largeChains(t *testing.T, n, label int) (path string) {
	t.Helper()
	path = filepath.Join(fstest.MemoryDir(t), "meta.db")
	db, err := Create(path)
	require.NoError(t, err)
	require.NoError(t, db.Update(func(tx *Tx) error {
		for i := range n {
			s := Snapshot{Name: snapshotName(i), Kind: Committed, State: Ready, Labels: map[string]string{"a label": fmt.Sprintf("%0*d", label, i)}}
			if i%3 > 0 {
				s.Parent = snapshotName(i - 1)
			}
			if _, err := tx.CreateSnapshot(s); err != nil {
				return err
			}
		}
		return tx.PutRecord("images", "i", map[string]string{"of": "snapshot"})
	}))
	settle(t, db)
	return path
}

func snapshotName(i int) string { return fmt.Sprintf("snapshot %06d", i) }

// requireSums requires that the mark belongs to the file, and that each
// checksum matches its page.
func requireSums(t *testing.T, path string) {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	info, err := f.Stat()
	require.NoError(t, err)
	m, err := currentMeta(f, info.Size())
	require.NoError(t, err)
	sums, err := openSums(sumsPath(path))
	require.NoError(t, err)
	defer sums.Close()
	now, err := markOf(f, m, sums.mark.Stamp)
	require.NoError(t, err)
	require.Equal(t, now, sums.mark)
	w, err := checkPages(f, m)
	require.NoError(t, err)
	for page, want := range w.sums {
		if want == 0 { // the page has no checksum
			continue
		}
		sum, err := sums.sum(uint64(page)) //nolint:gosec // not negative
		require.NoError(t, err)
		require.Equal(t, want, sum, "page %d", page)
	}
}

// requireLazy requires that nothing has caused a look at all pages.
func requireLazy(t *testing.T, db *DB) {
	t.Helper()
	lazy, err := db.guard.lazy()
	require.NoError(t, err)
	require.True(t, lazy, "every page was looked at")
}

func reopen(t *testing.T, path string) *DB {
	t.Helper()
	db, err := Open(path)
	require.NoError(t, err)
	return db
}

func TestOpeningASettledDatabaseReadsTheSameHoweverMuchIsInIt(t *testing.T) {
	read := map[int]int64{}
	for _, n := range []int{300, 6000} {
		path := chains(t, n)
		db := reopen(t, path)
		requireLazy(t, db)
		stamp, ok := db.Settled()
		require.True(t, ok)
		require.Equal(t, "stamp", stamp)
		read[n] = db.PagesRead()
		require.NoError(t, db.View(func(tx *Tx) error { _, err := tx.Chain(snapshotName(n - 1)); return err }))
		require.NoError(t, db.Update(func(tx *Tx) error {
			_, err := tx.CreateSnapshot(Snapshot{Name: "new", Parent: snapshotName(0), State: Ready})
			return err
		}))
		requireLazy(t, db)
		require.Less(t, db.PagesRead(), int64(60))
		db.Settle("again")
		require.NoError(t, db.Close())
		requireSums(t, path)

		require.NoError(t, os.Remove(sumsPath(path)))
		db = reopen(t, path)
		require.Greater(t, db.PagesRead(), int64(n/20), "without a mark every page is looked at")
		require.NoError(t, db.Close())
	}
	t.Log("pages read:", read)
	require.LessOrEqual(t, read[6000], read[300]+4, "trees get deeper")
}

// After any writes between two marks, the checksums match the pages.
func TestTheMarkFollowsWhatIsWritten(t *testing.T) {
	path := chains(t, 500)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 2)) //nolint:gosec // chooses what is written
	next, there := 500, map[string]bool{}
	rounds := 40
	if testing.Short() {
		rounds = 15
	}
	for round := range rounds {
		db := reopen(t, path)
		requireLazy(t, db)
		for range random.IntN(8) {
			_ = db.Update(func(tx *Tx) error {
				for range 1 + random.IntN(40) {
					if random.IntN(3) > 0 && round%20 < 12 {
						s := Snapshot{Name: fmt.Sprintf("%08x", random.Uint32()), State: Ready, Layer: fmt.Sprint("l", next),
							Labels: map[string]string{"x": string(make([]byte, random.IntN(9000)))}}
						if random.IntN(2) == 0 {
							s.Parent = snapshotName(random.IntN(500))
						}
						next++
						if _, err := tx.CreateSnapshot(s); err == nil {
							there[s.Name] = true
						}
						continue
					}
					for name := range there {
						delete(there, name)
						_ = tx.DeleteSnapshot(name)
						break
					}
				}
				_ = tx.PutRecord(fmt.Sprint("kind", random.IntN(3)), fmt.Sprint(random.IntN(50)), map[string]string{"v": string(make([]byte, random.IntN(900)))})
				if random.IntN(6) == 0 {
					return errors.New("taken back")
				}
				return nil
			})
			require.NoError(t, db.View(func(tx *Tx) error {
				return tx.WalkRecords("kind1", func(string, json.RawMessage) error { return nil })
			}))
		}
		if round%7 == 3 {
			require.NoError(t, db.View(func(tx *Tx) error { _, err := rowsOf(tx); return err }))
		}
		requireLazy(t, db)
		db.Settle("stamp")
		require.NoError(t, db.Close())
		requireSums(t, path)
	}
}

// remark changes the mark so that it belongs to the file as it is now. The test
// changed the file, but on a real disk bits flip without a new change time.
func remark(t *testing.T, path string) {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	sums, err := openSums(sumsPath(path))
	require.NoError(t, err)
	defer sums.Close()
	now, err := markOf(f, metaPage{}, "")
	require.NoError(t, err)
	m := sums.mark
	m.Inode, m.Changed = now.Inode, now.Changed
	require.NoError(t, writeSums(sumsPath(path), m, func(func(uint64, uint32) bool) {}, false))
}

// Bits flip in a file that was found sound. Whatever is read first, the result
// is an error or the rows, and never another row, as when every page is looked
// at.
func TestEveryBitThatFlipsUnderAMarkGivesAnErrorOrTheRows(t *testing.T) {
	path := chains(t, 120)
	db := reopen(t, path)
	require.NoError(t, db.Update(func(tx *Tx) error { // makes a list of free pages
		return errors.Join(tx.DeleteSnapshot(snapshotName(119)), tx.DeleteSnapshot(snapshotName(116)))
	}))
	truth := map[string]Snapshot{}
	require.NoError(t, db.View(func(tx *Tx) error {
		rows, err := rowsOf(tx)
		for _, row := range rows {
			truth[row.Name] = row
		}
		return err
	}))
	settle(t, db)
	good, err := os.ReadFile(path)
	require.NoError(t, err)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 3)) //nolint:gosec // chooses where the damage is
	n, refused := 800, 0
	if testing.Short() {
		n = 200
	}
	sums, err := os.ReadFile(sumsPath(path))
	require.NoError(t, err)
	for i := range n {
		require.NoError(t, os.WriteFile(sumsPath(path), sums, 0o600))
		bad := append([]byte{}, good...)
		bit := random.IntN(8 * len(bad))
		bad[bit/8] ^= 1 << (bit % 8)
		require.NoError(t, os.WriteFile(path, bad, 0o600))
		remark(t, path)
		if err := useSome(i, path, truth, random); err != nil {
			require.ErrorIs(t, err, ErrDamaged, "bit %d", bit)
			refused++
		}
	}
	t.Logf("%d of %d were refused", refused, n)
	require.Positive(t, refused)
}

// useSome reads or changes something, and returns an error when what it reads
// is not in truth.
func useSome(how int, path string, truth map[string]Snapshot, random *rand.Rand) (err error) {
	db, err := Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if _, ok := db.Settled(); !ok { // as a store does when it is opened
		err := db.View(func(tx *Tx) error {
			rows, err := rowsOf(tx)
			if err == nil {
				err = tx.CheckRows(rows)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	name := snapshotName(random.IntN(118))
	want, there := truth[name]
	switch how % 4 {
	case 0:
		return db.View(func(tx *Tx) error { return wanted(tx, name, want, there) })
	case 1: // removing a row must find its children
		err := db.Update(func(tx *Tx) error { return tx.DeleteSnapshot(name) })
		leaf := there
		for _, row := range truth {
			leaf = leaf && row.Parent != name
		}
		switch {
		case errors.Is(err, ErrDamaged):
			return err
		case leaf != (err == nil):
			return fmt.Errorf("removing %q: %w, a leaf: %v", name, err, leaf)
		}
	case 2:
		return db.View(func(tx *Tx) error {
			rows, err := rowsOf(tx)
			if err == nil && len(rows) != len(truth) {
				err = fmt.Errorf("%d rows of %d", len(rows), len(truth))
			}
			for _, row := range rows {
				if err == nil && !reflect.DeepEqual(row, truth[row.Name]) {
					err = fmt.Errorf("a row that never was: %v", row)
				}
			}
			return err
		})
	case 3: // writes must use only free pages
		err := db.Update(func(tx *Tx) error {
			for i := range 20 {
				if _, err := tx.CreateSnapshot(Snapshot{Name: fmt.Sprint("new ", i), Parent: snapshotName(0), State: Ready}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		var found []error
		if err := db.Check(func(err error) { found = append(found, err) }); err != nil {
			return err
		}
		if len(found) > 0 { // pages that were not touched may be damaged; nothing else is lost
			return found[0]
		}
		return db.View(func(tx *Tx) error { return wanted(tx, name, want, there) })
	}
	return nil
}

func wanted(tx *Tx, name string, want Snapshot, there bool) error {
	got, err := tx.Snapshot(name)
	if there && err == nil && !reflect.DeepEqual(got, want) {
		return fmt.Errorf("%q is another: %v", name, got)
	}
	if !there && errors.Is(err, ErrNotFound) {
		return nil
	}
	if there == errors.Is(err, ErrNotFound) {
		return fmt.Errorf("%q is there: %v, but %w", name, there, err)
	}
	return err
}

// Damage of only the checksums causes a look at all pages, and is not damage of
// the database.
func TestDamagedChecksumsAreNoDamage(t *testing.T) {
	path := chains(t, 200)
	good, err := os.ReadFile(sumsPath(path))
	require.NoError(t, err)
	for at := 0; at < len(good); at += 97 {
		bad := append([]byte{}, good...)
		bad[at] ^= 0x10
		require.NoError(t, os.WriteFile(sumsPath(path), bad, 0o600))
		db := reopen(t, path)
		require.NoError(t, db.View(func(tx *Tx) error {
			rows, err := rowsOf(tx)
			require.Len(t, rows, 200)
			return err
		}))
		require.NoError(t, db.Update(func(tx *Tx) error { return tx.PutRecord("k", "n", map[string]int{"a": at}) }))
		db.Settle("stamp")
		require.NoError(t, db.Close())
		requireSums(t, path)
	}
}

// A mark that was made for a hostile file may lead to any page. Reading must
// give an error, and must not run in a circle.
func TestACircleUnderAMarkThatWasMadeForItIsRefused(t *testing.T) {
	path := chains(t, 500)
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	circles := 0
	for page := 0; page < len(raw)/4096; page++ {
		if raw[page*4096+8] != flagBranch {
			continue
		}
		circles++
		bad := append([]byte{}, raw...)
		bad[page*4096+16+8] = byte(page) // its first branch is itself
		bad[page*4096+16+9] = byte(page >> 8)
		require.NoError(t, os.WriteFile(path, bad, 0o600))
		remark(t, path)
		sums, err := openSums(sumsPath(path))
		require.NoError(t, err)
		require.NoError(t, writeSums(sumsPath(path), sums.mark, func(yield func(uint64, uint32) bool) {
			yield(uint64(page), pageSum(uint64(page), bad[page*4096:(page+1)*4096])) //nolint:gosec // not negative
		}, false))
		require.NoError(t, sums.Close())
		db, err := Open(path)
		if err == nil {
			err = db.View(func(tx *Tx) error { _, err := rowsOf(tx); return err })
			require.NoError(t, db.Close())
		}
		require.ErrorIs(t, err, ErrDamaged)
	}
	require.Positive(t, circles)
}

func TestAnUnfinishedRowKeepsADatabaseFromBeingSettled(t *testing.T) {
	path := chains(t, 10)
	db := reopen(t, path)
	var row Snapshot
	require.NoError(t, db.Update(func(tx *Tx) (err error) {
		row, err = tx.CreateSnapshot(Snapshot{Name: "p", State: Pending})
		return err
	}))
	require.EqualValues(t, 1, db.Unfinished())
	db.Settle("stamp")
	require.NoError(t, db.Close())
	db = reopen(t, path)
	_, ok := db.Settled()
	require.False(t, ok)
	require.NoError(t, db.View(func(tx *Tx) error {
		rows, err := rowsOf(tx)
		return errors.Join(err, tx.CheckRows(rows))
	}))
	require.EqualValues(t, 1, db.Unfinished())
	row.State, row.Spare = Ready, "7"
	require.NoError(t, db.Update(func(tx *Tx) error { return tx.UpdateSnapshot(row) }))
	require.EqualValues(t, 1, db.Unfinished())
	row.Spare = ""
	require.NoError(t, db.Update(func(tx *Tx) error { return tx.UpdateSnapshot(row) }))
	row.Name = "q"
	require.NoError(t, db.Update(func(tx *Tx) error { return tx.RenameSnapshot("p", row) }))
	require.Zero(t, db.Unfinished())
	settle(t, db)
	db = reopen(t, path)
	requireLazy(t, db)
	require.NoError(t, db.Close())
}

// Another copy of the file, a file that was edited, and a file that was not
// closed in order have no mark.
func TestAMarkIsOfOneStateOfOneFile(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, path string){
		"copied": func(t *testing.T, path string) {
			t.Helper()
			raw, err := os.ReadFile(path)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(path+".copy", raw, 0o600))
			require.NoError(t, os.Rename(path+".copy", path))
		},
		"written to": func(t *testing.T, path string) {
			t.Helper()
			raw, err := os.ReadFile(path)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(path, raw, 0o600))
		},
		"not closed in order": func(t *testing.T, path string) {
			t.Helper()
			db := reopen(t, path)
			require.NoError(t, db.Update(func(*Tx) error { return nil }))
			require.NoError(t, db.Close())
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := chains(t, 30)
			change(t, path)
			db := reopen(t, path)
			_, ok := db.Settled()
			require.False(t, ok)
			require.NoError(t, db.Close())
		})
	}
}
