package snapshotter

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

// TestAHostileAdditionalStoreNeitherStopsUsNorLeadsElsewhere spoils the files
// of an additional store. The store that borrows from it must still open, and
// must not follow its paths.
func TestAHostileAdditionalStoreNeitherStopsUsNorLeadsElsewhere(t *testing.T) {
	eachBorrower(t, func(t *testing.T, dir, name string) {
		root := chainIn(t, dir, name, "own")
		n := 0
		spoiled := func(spoil func(other string, db *meta.DB)) *Snapshotter {
			n++
			other := chainIn(t, dir, name, fmt.Sprint("other-", n))
			db, err := meta.Open(filepath.Join(other, metaName))
			require.NoError(t, err)
			spoil(other, db)
			require.NoError(t, db.Close())
			s, err := Open(t.Context(), root, Options{Additional: []string{other}})
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, s.Close()) })
			return s
		}
		for _, file := range []string{headerName, metaName, lockName} {
			s := spoiled(func(other string, _ *meta.DB) {
				require.NoError(t, os.Remove(filepath.Join(other, file)))
				require.NoError(t, syscall.Mkfifo(filepath.Join(other, file), 0o600))
			})
			require.Empty(t, s.Additional(), file)
			require.NoError(t, s.Close())
		}
		for _, layer := range []string{"../../own/" + name + "/1", "..", "2/fs"} { // the database of the other store is hostile
			s := spoiled(func(_ string, db *meta.DB) {
				require.NoError(t, db.Update(func(tx *meta.Tx) error {
					_, err := tx.CreateSnapshot(meta.Snapshot{Name: "bad", Layer: layer, Kind: meta.Committed, State: meta.Ready})
					return err
				}))
			})
			require.Error(t, s.Create(t.Context(), "on", "bad"), layer)
			require.NoError(t, s.Close())
		}
		s := spoiled(func(other string, db *meta.DB) {
			require.NoError(t, db.Update(func(tx *meta.Tx) error {
				for i, layer := range []string{"a.b", strings.Repeat("x", 120)} {
					_, err := tx.CreateSnapshot(meta.Snapshot{Name: fmt.Sprint("bad", i), Layer: layer, Kind: meta.Committed, State: meta.Ready})
					require.NoError(t, err)
				}
				row := meta.Snapshot{Name: "labels", Kind: meta.Committed, State: meta.Ready, Labels: map[string]string{"l": strings.Repeat("x", maxLabel)}}
				_, err := tx.CreateSnapshot(row)
				require.NoError(t, err)
				row = meta.Snapshot{Name: "borrowed", Kind: meta.Committed, State: meta.Ready, Store: "ELSEWHERE", Layer: "ELSEWHERE.1"}
				_, err = tx.CreateSnapshot(row)
				require.NoError(t, err)
				parent := ""
				for i := range maxBorrowed + 1 {
					row := meta.Snapshot{Name: fmt.Sprint("deep", i), Parent: parent, Kind: meta.Committed, State: meta.Ready}
					_, err = tx.CreateSnapshot(row)
					require.NoError(t, err)
					parent = row.Name
				}
				return nil
			}))
		})
		require.Len(t, s.Additional(), 1)
		before := namesOf(t, s)
		for _, key := range []string{"bad0", "bad1", "labels", "borrowed", fmt.Sprint("deep", maxBorrowed)} {
			require.Error(t, s.Create(t.Context(), "on", key), key)
			_, err := s.OpenView(t.Context(), key)
			require.Error(t, err, key)
		}
		require.Equal(t, before, namesOf(t, s))
		require.NoError(t, s.Close())

		s = spoiled(func(other string, _ *meta.DB) {
			layers := filepath.Join(other, name)
			require.NoError(t, os.Rename(layers, layers+"-moved"))
			require.NoError(t, os.Symlink(layers+"-moved", layers))
		})
		require.Empty(t, s.Additional())
	})
}
