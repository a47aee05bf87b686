package meta

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"

	"github.com/layerkeep/layerkeep/internal/fstest"
)

// FuzzRows writes any rows directly into a database. Each line of the input is
// a name and a value with a space between them. Reading a row, and following it
// to others, must give the content of the rows or an error. An accepted row has
// a layer whose ID can be part of a path, and stays the same when it is written
// and read again.
func FuzzRows(f *testing.F) {
	f.Add([]byte(`a {"id":1,"layer":"1","kind":"committed","state":"ready"}` + "\n" +
		`b {"id":2,"layer":"2","parent":"a","kind":"active","state":"pending","spare":"7","labels":{"k":"v"}}`))
	f.Add([]byte(`a {"id":1,"layer":"../x"}` + "\n" + `b {"id":1,"layer":"1","parent":"b"}`))
	f.Add(append([]byte("s "), addSum("s", []byte(`{"id":1,"layer":"1","created":"2024-01-02T03:04:05Z"}`))...))
	f.Add([]byte(`a {"parent":"b"}` + "\n" + `b {"rebase":"c","parent":"c"}` + "\n" + `c {"parent":"a"}`))
	dir := fstest.MemoryDir(f)
	empty := filepath.Join(dir, "empty")
	db, err := Create(empty)
	require.NoError(f, err)
	require.NoError(f, db.Close())
	template, err := os.ReadFile(empty)
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, input []byte) {
		path := filepath.Join(fstest.MemoryDir(t), "meta.db")
		require.NoError(t, os.WriteFile(path, template, 0o600))
		names := putRows(t, path, input)
		db, err := Open(path)
		if err != nil {
			require.ErrorIs(t, err, ErrDamaged)
			return
		}
		defer func() { require.NoError(t, db.Close()) }()
		var rows []Snapshot
		require.NoError(t, db.View(func(tx *Tx) error {
			for _, name := range names {
				if row, err := tx.Snapshot(name); err == nil {
					requireSound(t, row)
					rows = append(rows, row)
				} else {
					require.ErrorIs(t, err, ErrDamaged)
				}
				if chain, err := tx.Chain(name); err == nil {
					require.Equal(t, name, chain[0].Name)
				}
			}
			if err := tx.WalkSnapshots(func(Snapshot) error { return nil }); err != nil {
				require.ErrorIs(t, err, ErrDamaged)
				return nil
			}
			require.Len(t, rows, len(names))
			if err := tx.CheckRows(rows); err != nil {
				require.True(t, errors.Is(err, ErrDamaged) || errors.Is(err, ErrNotFound), "%v", err)
			}
			return nil
		}))
	})
}

// maxFuzzRows keeps the database of the fuzz target small.
const maxFuzzRows = 20

// putRows writes rows with the database library, as far as it accepts them, and
// returns their names.
func putRows(t *testing.T, path string, input []byte) (names []string) {
	t.Helper()
	raw, err := bbolt.Open(path, 0o600, &bbolt.Options{NoSync: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, raw.Close()) }()
	rows := map[string][]byte{}
	for line := range bytes.SplitSeq(input, []byte("\n")) {
		name, value, ok := bytes.Cut(line, []byte(" "))
		if ok && len(name) > 0 && len(name) <= bbolt.MaxKeySize && len(rows) < maxFuzzRows {
			rows[string(name)] = value
		}
	}
	require.NoError(t, raw.Update(func(tx *bbolt.Tx) error {
		for name, value := range rows {
			names = append(names, name)
			if err := tx.Bucket(bucketSnapshots).Put([]byte(name), value); err != nil {
				return err
			}
		}
		return tx.Bucket(bucketSnapshots).SetSequence(1000)
	}))
	return names
}

func requireSound(t *testing.T, row Snapshot) {
	t.Helper()
	for _, layer := range []string{row.Layer, row.Spare} {
		require.False(t, strings.ContainsAny(layer, "/\x00") || strings.HasPrefix(layer, ".") || len(layer) > maxLayer, "%q", layer)
	}
	one, err := json.Marshal(row)
	require.NoError(t, err)
	again, err := decode(row.Name, addSum(row.Name, one))
	require.NoError(t, err)
	two, err := json.Marshal(again)
	require.NoError(t, err)
	require.Equal(t, string(one), string(two))
}
