package meta_test

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"

	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

func open(t *testing.T) *meta.DB {
	t.Helper()
	db, err := meta.Create(filepath.Join(t.TempDir(), "meta.db"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

func create(t *testing.T, db *meta.DB, s meta.Snapshot) meta.Snapshot {
	t.Helper()
	require.NoError(t, db.Update(func(tx *meta.Tx) (err error) {
		s, err = tx.CreateSnapshot(s)
		return err
	}))
	return s
}

func get(t *testing.T, db *meta.DB, name string) meta.Snapshot {
	t.Helper()
	var s meta.Snapshot
	require.NoError(t, db.View(func(tx *meta.Tx) (err error) {
		s, err = tx.Snapshot(name)
		return err
	}))
	return s
}

func children(t *testing.T, db *meta.DB, s meta.Snapshot) []string {
	t.Helper()
	var names []string
	require.NoError(t, db.View(func(tx *meta.Tx) error {
		names = tx.Children(s)
		return nil
	}))
	return names
}

func TestARowComesBackAsItWasPut(t *testing.T) {
	db := open(t)
	base := create(t, db, meta.Snapshot{Name: "base", Kind: meta.Committed, State: meta.Ready})
	at := time.Date(2026, 11, 20, 22, 40, 1, 123456789, time.UTC)

	put := create(t, db, meta.Snapshot{
		Name: "a/key with spaces", Parent: "base", Kind: meta.Active, State: meta.Pending,
		Labels: map[string]string{"l": "1"}, Created: at, Updated: at.Add(1),
		Usage: meta.Usage{Bytes: 4096, Inodes: 2},
	})

	require.Equal(t, put, get(t, db, "a/key with spaces"))
	require.Greater(t, put.ID, base.ID)
	require.NotEqual(t, base.Layer, put.Layer)
	require.Equal(t, []string{"a/key with spaces"}, children(t, db, base))
}

func TestIDsAreNeverUsedAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "meta.db")
	seen := map[uint64]bool{}
	for range 3 {
		db, err := meta.Create(path)
		require.NoError(t, err)
		s := create(t, db, meta.Snapshot{Name: "s"})
		require.False(t, seen[s.ID])
		seen[s.ID] = true
		require.NoError(t, db.Update(func(tx *meta.Tx) error { return tx.DeleteSnapshot("s") }))
		require.NoError(t, db.Close())
	}
}

func TestRenamingMovesTheRowAndItsPlaceAmongTheChildren(t *testing.T) {
	db := open(t)
	base := create(t, db, meta.Snapshot{Name: "base"})
	s := create(t, db, meta.Snapshot{Name: "key", Parent: "base"})

	s.Name, s.Kind = "name", meta.Committed
	require.NoError(t, db.Update(func(tx *meta.Tx) error { return tx.RenameSnapshot("key", s) }))

	require.Equal(t, s, get(t, db, "name"))
	require.Equal(t, []string{"name"}, children(t, db, base))
	require.ErrorIs(t, db.View(func(tx *meta.Tx) error { _, err := tx.Snapshot("key"); return err }), meta.ErrNotFound)
}

func TestTheChildrenOfARenamedRowFollow(t *testing.T) {
	db := open(t)
	base := create(t, db, meta.Snapshot{Name: "base"})
	create(t, db, meta.Snapshot{Name: "child", Parent: "base"})
	create(t, db, meta.Snapshot{Name: "rebasing", Rebase: "base"})

	base.Name = "moved"
	require.NoError(t, db.Update(func(tx *meta.Tx) error { return tx.RenameSnapshot("base", base) }))
	require.Equal(t, []string{"child", "rebasing"}, children(t, db, base))
	require.Equal(t, "moved", get(t, db, "child").Parent)
	require.Equal(t, "moved", get(t, db, "rebasing").Rebase)
	for _, name := range []string{"child", "rebasing", "moved"} {
		require.NoError(t, db.Update(func(tx *meta.Tx) error { return tx.DeleteSnapshot(name) }))
	}
}

func TestARebaseInProgressCountsAsAChild(t *testing.T) {
	db := open(t)
	base := create(t, db, meta.Snapshot{Name: "base"})
	s := create(t, db, meta.Snapshot{Name: "key"})

	s.Rebase = "base"
	require.NoError(t, db.Update(func(tx *meta.Tx) error { return tx.UpdateSnapshot(s) }))
	require.ErrorIs(t, db.Update(func(tx *meta.Tx) error { return tx.DeleteSnapshot("base") }), meta.ErrHasChildren)

	s.Rebase = ""
	require.NoError(t, db.Update(func(tx *meta.Tx) error { return tx.UpdateSnapshot(s) }))
	require.Empty(t, children(t, db, base))
	require.NoError(t, db.Update(func(tx *meta.Tx) error { return tx.DeleteSnapshot("base") }))
}

func TestChildrenAreTheirParentsOwn(t *testing.T) {
	db := open(t)
	var parents []meta.Snapshot
	for _, name := range []string{"p1", "p2", "p3"} {
		parents = append(parents, create(t, db, meta.Snapshot{Name: name}))
	}
	create(t, db, meta.Snapshot{Name: "z", Parent: "p2"})
	create(t, db, meta.Snapshot{Name: "a", Parent: "p2"})
	create(t, db, meta.Snapshot{Name: "c", Parent: "p3"})

	require.Empty(t, children(t, db, parents[0]))
	require.Equal(t, []string{"z", "a"}, children(t, db, parents[1]))
	require.Equal(t, []string{"c"}, children(t, db, parents[2]))
}

func TestAChainRunsFromTheNearestToTheRoot(t *testing.T) {
	db := open(t)
	parent := ""
	for _, name := range []string{"1", "2", "3"} {
		create(t, db, meta.Snapshot{Name: name, Parent: parent})
		parent = name
	}
	var names []string
	require.NoError(t, db.View(func(tx *meta.Tx) error {
		chain, err := tx.Chain("3")
		for _, s := range chain {
			names = append(names, s.Name)
		}
		return err
	}))
	require.Equal(t, []string{"3", "2", "1"}, names)
}

func TestWhatCannotBePutIsRefusedAndChangesNothing(t *testing.T) {
	db := open(t)
	create(t, db, meta.Snapshot{Name: "there"})
	for name, c := range map[string]struct {
		fn   func(tx *meta.Tx) error
		want error
	}{
		"a taken name":     {func(tx *meta.Tx) error { _, err := tx.CreateSnapshot(meta.Snapshot{Name: "there"}); return err }, meta.ErrExists},
		"an empty name":    {func(tx *meta.Tx) error { _, err := tx.CreateSnapshot(meta.Snapshot{}); return err }, meta.ErrInvalidName},
		"a name not UTF-8": {func(tx *meta.Tx) error { _, err := tx.CreateSnapshot(meta.Snapshot{Name: "\xff"}); return err }, meta.ErrInvalidName},
		"a very long name": {func(tx *meta.Tx) error {
			_, err := tx.CreateSnapshot(meta.Snapshot{Name: strings.Repeat("n", 1<<16)})
			return err
		}, meta.ErrInvalidName},
		"a missing parent": {func(tx *meta.Tx) error {
			_, err := tx.CreateSnapshot(meta.Snapshot{Name: "s", Parent: "p"})
			return err
		}, meta.ErrNotFound},
		"a label not UTF-8": {func(tx *meta.Tx) error {
			_, err := tx.CreateSnapshot(meta.Snapshot{Name: "s", Labels: map[string]string{"l": "\xff"}})
			return err
		}, meta.ErrInvalidName},
		"a missing row":       {func(tx *meta.Tx) error { return tx.UpdateSnapshot(meta.Snapshot{Name: "s"}) }, meta.ErrNotFound},
		"renaming onto a row": {func(tx *meta.Tx) error { return tx.RenameSnapshot("there", meta.Snapshot{Name: "there"}) }, meta.ErrExists},
		"renaming a missing":  {func(tx *meta.Tx) error { return tx.RenameSnapshot("s", meta.Snapshot{Name: "t"}) }, meta.ErrNotFound},
		"deleting a missing":  {func(tx *meta.Tx) error { return tx.DeleteSnapshot("s") }, meta.ErrNotFound},
		"looking up no name":  {func(tx *meta.Tx) error { _, err := tx.Snapshot(""); return err }, meta.ErrNotFound},
		"a record of no kind": {func(tx *meta.Tx) error { return tx.PutRecord("", "n", 1) }, meta.ErrInvalidName},
		"a record of no name": {func(tx *meta.Tx) error { return tx.PutRecord("k", "", 1) }, meta.ErrInvalidName},
	} {
		t.Run(name, func(t *testing.T) {
			require.ErrorIs(t, db.Update(c.fn), c.want)
			require.Equal(t, []string{"there"}, names(t, db))
		})
	}
}

func names(t *testing.T, db *meta.DB) []string {
	t.Helper()
	var all []string
	require.NoError(t, db.View(func(tx *meta.Tx) error {
		return tx.WalkSnapshots(func(s meta.Snapshot) error {
			all = append(all, s.Name)
			return nil
		})
	}))
	return all
}

func TestAFailedUpdateLeavesNothing(t *testing.T) {
	db := open(t)
	failure := errors.New("failure")
	err := db.Update(func(tx *meta.Tx) error {
		_, err := tx.CreateSnapshot(meta.Snapshot{Name: "s"})
		require.NoError(t, err)
		require.NoError(t, tx.PutRecord("images", "i", 1))
		return failure
	})
	require.ErrorIs(t, err, failure)
	require.Empty(t, names(t, db))
}

func TestRecordsOfDifferentKindsDoNotMix(t *testing.T) {
	db := open(t)
	type image struct{ Digest string }
	require.NoError(t, db.Update(func(tx *meta.Tx) error {
		return errors.Join(
			tx.PutRecord("images", "b", image{"sha256:b"}),
			tx.PutRecord("images", "a", image{"sha256:a"}),
			tx.PutRecord("mounts", "a", "/mnt"))
	}))

	got := map[string]string{}
	require.NoError(t, db.View(func(tx *meta.Tx) error {
		require.NoError(t, tx.WalkRecords("nothing here", func(string, json.RawMessage) error { return errors.New("called") }))
		return tx.WalkRecords("images", func(name string, raw json.RawMessage) error {
			got[name] = string(raw)
			return nil
		})
	}))
	require.Equal(t, []string{"a", "b"}, slices.Sorted(maps.Keys(got)))

	require.NoError(t, db.Update(func(tx *meta.Tx) error {
		var i image
		require.NoError(t, tx.GetRecord("images", "a", &i))
		require.Equal(t, "sha256:a", i.Digest)
		require.NoError(t, tx.DeleteRecord("images", "a"))
		require.ErrorIs(t, tx.GetRecord("images", "a", &i), meta.ErrNotFound)
		require.ErrorIs(t, tx.DeleteRecord("images", "a"), meta.ErrNotFound)
		var target string
		return tx.GetRecord("mounts", "a", &target)
	}))
}

func TestADatabaseOfANewerVersionIsRefusedAndNotTouched(t *testing.T) {
	path := filepath.Join(t.TempDir(), "meta.db")
	db, err := meta.Create(path)
	require.NoError(t, err)
	require.NoError(t, db.Close())
	raw, err := bbolt.Open(path, 0o600, nil)
	require.NoError(t, err)
	require.NoError(t, raw.Update(func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte("store")).Put([]byte("version"), binary.BigEndian.AppendUint64(nil, meta.VersionBorrowed+1))
	}))
	require.NoError(t, raw.Close())

	_, err = meta.Open(path)
	require.ErrorIs(t, err, meta.ErrNewer)
}

func TestADatabaseIsOpenOnceAtATime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "meta.db")
	db, err := meta.Create(path)
	require.NoError(t, err)
	_, err = meta.Open(path)
	require.ErrorIs(t, err, meta.ErrInUse)
	require.NoError(t, db.Close())
	require.NoError(t, db.Close(), "closing twice is no error")
}
