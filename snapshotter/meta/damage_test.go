package meta_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"

	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

// filled makes a database with several pages of rows and a list of free pages.
// It returns the rows.
func filled(t *testing.T) (path string, rows []meta.Snapshot) {
	t.Helper()
	path = filepath.Join(fstest.MemoryDir(t), "meta.db")
	db, err := meta.Create(path)
	require.NoError(t, err)
	for i := range 60 {
		parent := ""
		if i%3 > 0 {
			parent = fmt.Sprint("snapshot ", i-1)
		}
		create(t, db, meta.Snapshot{
			Name: fmt.Sprint("snapshot ", i), Parent: parent, Kind: meta.Committed, State: meta.Ready,
			Labels: map[string]string{"containerd.io/snapshot.ref": fmt.Sprintf("sha256:%064d", i)},
		})
	}
	require.NoError(t, db.Update(func(tx *meta.Tx) error {
		return errors.Join(tx.DeleteSnapshot("snapshot 59"), tx.PutRecord("images", "i", map[string]string{"of": "snapshot 2"}))
	}))
	rows = all(t, db)
	require.NoError(t, db.Close())
	return path, rows
}

func all(t *testing.T, db *meta.DB) (rows []meta.Snapshot) {
	t.Helper()
	require.NoError(t, db.View(func(tx *meta.Tx) error {
		return tx.WalkSnapshots(func(row meta.Snapshot) error {
			rows = append(rows, row)
			return nil
		})
	}))
	return rows
}

// use opens a database, reads all of it and writes to it. It returns the rows
// that were read without an error.
func use(path string) (rows []meta.Snapshot, err error) {
	db, err := meta.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	err = db.View(func(tx *meta.Tx) error {
		err := tx.WalkSnapshots(func(row meta.Snapshot) error {
			rows = append(rows, row)
			tx.Children(row)
			_, err := tx.Chain(row.Name)
			return err
		})
		if err != nil {
			return err
		}
		if err := tx.CheckRows(rows); err != nil {
			return err
		}
		return tx.WalkRecords("images", func(string, json.RawMessage) error { return nil })
	})
	if err != nil {
		return nil, err
	}
	return rows, db.Update(func(tx *meta.Tx) error {
		_, err := tx.CreateSnapshot(meta.Snapshot{Name: "new", Parent: rows[0].Name})
		return err
	})
}

// requireErrorOrTruth requires that a damaged file gives an error or the rows
// that were in it. It must not give a panic, a fault, a hang or another row.
func requireErrorOrTruth(t *testing.T, in, what string, raw []byte, truth []meta.Snapshot) (refused bool) {
	t.Helper()
	path := filepath.Join(in, "meta.db")
	require.NoError(t, os.WriteFile(path, raw, 0o600))
	rows, err := use(path)
	if err != nil {
		require.True(t, errors.Is(err, meta.ErrDamaged) || errors.Is(err, meta.ErrNewer) || errors.Is(err, meta.ErrNotFound) || errors.Is(err, meta.ErrExists),
			"%s: %v", what, err)
		return true
	}
	for _, row := range rows {
		if !slices.ContainsFunc(truth, func(r meta.Snapshot) bool { return reflect.DeepEqual(r, row) }) {
			require.Fail(t, "a row that never was", "%s: %v", what, row)
		}
	}
	return false
}

// material returns a sound database, its rows, and a source of random numbers.
func material(t *testing.T) (good []byte, truth []meta.Snapshot, random *rand.Rand) {
	t.Helper()
	path, truth := filled(t)
	good, err := os.ReadFile(path)
	require.NoError(t, err)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return good, truth, rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // chooses where the damage is
}

func TestEveryFlippedBitGivesAnErrorOrTheRows(t *testing.T) {
	good, truth, random := material(t)
	in, n, refused := fstest.MemoryDir(t), 1000, 0
	if testing.Short() {
		n = 150
	}
	for range n {
		bit := random.IntN(8 * len(good))
		bad := append([]byte{}, good...)
		bad[bit/8] ^= 1 << (bit % 8)
		if requireErrorOrTruth(t, in, fmt.Sprint("bit ", bit), bad, truth) {
			refused++
		}
	}
	t.Logf("%d of %d were refused", refused, n)
	require.Positive(t, refused)
}

// Damage that overwrites whole headers or values, or cuts the file short.
func TestEveryOtherDamageGivesAnErrorOrTheRows(t *testing.T) {
	good, truth, random := material(t)
	in, n := fstest.MemoryDir(t), 500
	if testing.Short() {
		n = 100
	}
	fill := func(b []byte, at, n int, with func() byte) {
		for i := at; i < min(at+n, len(b)); i++ {
			b[i] = with()
		}
	}
	for i := range n {
		bad := append([]byte{}, good...)
		at := random.IntN(len(bad))
		page := at &^ 4095
		anything := func() byte { return byte(random.Uint32()) }
		switch i % 6 {
		case 0:
			fill(bad, page, 16, anything)
		case 1:
			fill(bad, page, 64, func() byte { return 0xff })
		case 2:
			fill(bad, at, 8, anything)
		case 3:
			bad = bad[:at]
		case 4:
			copy(bad[page:min(page+4096, len(bad))], good[random.IntN(len(good)/4096)*4096:])
		case 5:
			fill(bad, page, 4096, func() byte { return 0 })
		}
		requireErrorOrTruth(t, in, fmt.Sprintf("damage %d at %d", i, at), bad, truth)
	}
}

// One of the first two pages is written to the position of the other. Each is
// valid in itself, and two old ones would give the rows of the transaction
// before.
func TestAFirstPageInThePlaceOfTheOtherIsRefused(t *testing.T) {
	good, truth, _ := material(t)
	in := fstest.MemoryDir(t)
	for from := range 2 {
		bad := append([]byte{}, good...)
		copy(bad[(1-from)*4096:(2-from)*4096], good[from*4096:])
		what := fmt.Sprintf("page %d over the other", from)
		require.True(t, requireErrorOrTruth(t, in, what, bad, truth), what)
	}
	swapped := append([]byte{}, good...)
	copy(swapped, good[4096:8192])
	copy(swapped[4096:], good[:4096])
	require.True(t, requireErrorOrTruth(t, in, "swapped", swapped, truth))
}

func TestACircleOfPagesIsRefused(t *testing.T) {
	path, _ := filled(t)
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	pages := len(raw) / 4096
	circles := 0
	for p := range pages {
		page := raw[p*4096:]
		if page[8] != 1 { // not a branch page
			continue
		}
		circles++
		bad := append([]byte{}, raw...)
		bad[p*4096+16+8] = byte(p) // its first branch is itself
		path := filepath.Join(t.TempDir(), "meta.db")
		require.NoError(t, os.WriteFile(path, bad, 0o600))
		_, err := meta.Open(path)
		if err != nil { // pages of earlier transactions are not looked at
			require.ErrorIs(t, err, meta.ErrDamaged)
			require.ErrorContains(t, err, "used twice")
			return
		}
	}
	require.Fail(t, "no circle was refused", "%d pages of branches", circles)
}

func TestAnExistingDatabaseIsNotMadeAnew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "meta.db")
	_, err := meta.Open(path)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NoFileExists(t, path)

	require.NoError(t, os.WriteFile(path, nil, 0o600))
	_, err = meta.Open(path)
	require.ErrorIs(t, err, meta.ErrDamaged)
	require.ErrorContains(t, err, "empty")
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Zero(t, info.Size())

	// An empty bbolt database is not a database of this package.
	require.NoError(t, os.Remove(path))
	raw, err := bbolt.Open(path, 0o600, nil)
	require.NoError(t, err)
	require.NoError(t, raw.Close())
	_, err = meta.Open(path)
	require.ErrorIs(t, err, meta.ErrDamaged)

	db, err := meta.Create(path)
	require.NoError(t, err)
	require.NoError(t, db.Close())
}

// Rows that the version before wrote have no checksum.
func TestRowsWithoutAChecksumAreRead(t *testing.T) {
	path, _ := filled(t)
	raw, err := bbolt.Open(path, 0o600, nil)
	require.NoError(t, err)
	require.NoError(t, raw.Update(func(tx *bbolt.Tx) error {
		return errors.Join(
			tx.Bucket([]byte("snapshots")).Put([]byte("old"), []byte(`{"id":900,"layer":"900","kind":"active","state":"ready"}`)),
			tx.Bucket([]byte("snapshots")).Put([]byte("other"), tx.Bucket([]byte("snapshots")).Get([]byte("snapshot 1"))))
	}))
	require.NoError(t, raw.Close())
	db, err := meta.Open(path)
	require.NoError(t, err)
	defer db.Close()
	require.Equal(t, uint64(900), get(t, db, "old").ID)
	err = db.View(func(tx *meta.Tx) error { _, err := tx.Snapshot("other"); return err })
	require.ErrorIs(t, err, meta.ErrDamaged, "a row under another name")
}

// The IDs of layers become parts of paths.
func TestARowWhoseLayerCannotBeOneIsDamaged(t *testing.T) {
	for _, field := range []string{"layer", "spare"} {
		for layer, fine := range map[string]bool{
			"900": true, "a.b-c_D": true, "..": false, ".": false, ".trash-1": false, "../../etc": false, "/etc": false, "a/b": false, "a\x00b": false,
			strings.Repeat("a", 255): true, strings.Repeat("a", 256): false,
		} {
			path, _ := filled(t)
			raw, err := bbolt.Open(path, 0o600, nil)
			require.NoError(t, err)
			row, err := json.Marshal(map[string]any{"id": 900, "kind": "active", "state": "ready", field: layer})
			require.NoError(t, err)
			require.NoError(t, raw.Update(func(tx *bbolt.Tx) error { return tx.Bucket([]byte("snapshots")).Put([]byte("old"), row) }))
			require.NoError(t, raw.Close())
			db, err := meta.Open(path)
			require.NoError(t, err)
			err = db.View(func(tx *meta.Tx) error { _, err := tx.Snapshot("old"); return err })
			if fine {
				require.NoError(t, err, "%q", layer)
			} else {
				require.ErrorIs(t, err, meta.ErrDamaged, "%q", layer)
			}
			require.NoError(t, db.Close())
		}
	}
}

func TestAPanicOfTheCallerIsNotTakenForDamage(t *testing.T) {
	db := open(t)
	for name, run := range map[string]func(func(*meta.Tx) error) error{"view": db.View, "update": db.Update} {
		t.Run(name, func(t *testing.T) {
			require.PanicsWithValue(t, "mine", func() { _ = run(func(*meta.Tx) error { panic("mine") }) })
			var none []int
			require.Panics(t, func() { _ = run(func(*meta.Tx) error { none[len(none)]++; return nil }) })
		})
	}
}
