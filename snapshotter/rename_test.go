package snapshotter

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

func TestARenamedSnapshotIsTheSameOneUnderAnotherName(t *testing.T) {
	root, disk := memDir(t), newFakeDisk()
	s := openAt(t, root, Options{open: disk.open})
	commit(t, s, "base", "", "base")
	commit(t, s, "top", "base", "top")
	active(t, s, "work", "base", "work")
	_, err := s.View(t.Context(), "view", "top")
	require.NoError(t, err)
	before := rowsOf(t, s)

	for old, name := range map[string]string{"base": "a base", "top": "zz/top:1", "work": "shop", "view": "a view"} {
		require.NoError(t, s.Rename(t.Context(), old, name))
		_, err := s.Stat(t.Context(), old)
		require.ErrorIs(t, err, errdefs.ErrNotFound)
		info, err := s.Stat(t.Context(), name)
		require.NoError(t, err)
		require.Equal(t, before[old].Created, info.Created)
		require.Equal(t, before[old].Layer, rowsOf(t, s)[name].Layer)
	}
	require.Equal(t, "work", diffOf(t, s, "shop"))
	require.Equal(t, []string{"a base", "a view", "shop", "zz/top:1"}, namesOf(t, s))
	parents := map[string]string{}
	for name, row := range rowsOf(t, s) {
		parents[name] = row.Parent
	}
	requireCards(t, s, "a base", "zz/top:1")
	for _, name := range []string{"shop", "a view"} {
		r, err := s.driver.(driver.Recorder).Record(t.Context(), layerOf(rowsOf(t, s)[name]))
		require.NoError(t, err)
		c, _, err := readCard(r)
		require.NoError(t, err)
		require.Equal(t, name, c.Name, "also before it is committed")
	}
	require.Equal(t, map[string]string{"a base": "", "a view": "zz/top:1", "shop": "a base", "zz/top:1": "a base"}, parents)

	require.NoError(t, s.Commit(t.Context(), "done", "shop"))
	for range 2 {
		requireSound(t, s)
		requireCards(t, s, "a base", "zz/top:1", "done")
		for _, l := range inspect(t, s) {
			require.Empty(t, l.Faults, l.Name)
		}
		require.NoError(t, s.Close())
		s = openAt(t, root, Options{open: disk.open})
	}
	active(t, s, "base", "done", "the old name is free")
}

func TestARenameIsRefusedWithoutAnyEffect(t *testing.T) {
	s, _ := openFake(t)
	commit(t, s, "base", "", "base")
	active(t, s, "work", "base", "work")
	before := rowsOf(t, s)
	require.ErrorIs(t, s.Rename(t.Context(), "nosuch", "new"), errdefs.ErrNotFound)
	require.ErrorIs(t, s.Rename(t.Context(), "work", "base"), errdefs.ErrAlreadyExists)
	require.ErrorIs(t, s.Rename(t.Context(), "work", "work"), errdefs.ErrAlreadyExists)
	require.ErrorIs(t, s.Rename(t.Context(), "work", ""), errdefs.ErrInvalidArgument)
	require.ErrorIs(t, s.Rename(t.Context(), "work", strings.Repeat("x", 1<<20)), errdefs.ErrInvalidArgument)
	require.Equal(t, before, rowsOf(t, s))
	requireSound(t, s)
}

func TestAQuarantineFollowsARename(t *testing.T) {
	s, _ := openFake(t)
	commit(t, s, "base", "", "base")
	require.NoError(t, s.Quarantine(t.Context(), "base", "a test", true))
	was, err := s.Quarantined()
	require.NoError(t, err)
	require.NoError(t, s.Rename(t.Context(), "base", "bad"))
	is, err := s.Quarantined()
	require.NoError(t, err)
	require.Equal(t, map[string]Quarantine{"bad": was["base"]}, is)
	require.Error(t, s.Create(t.Context(), "on", "bad"))
	require.NoError(t, s.Release(t.Context(), "bad"))
	require.NoError(t, s.Create(t.Context(), "on", "bad"))
}

// When a record cannot be written, the rename succeeds all the same. The layer
// is not taken for that of another snapshot. When the store is opened again the
// record gets the name.
func TestARecordThatStillTellsTheOldNameIsNoDamage(t *testing.T) {
	root, disk := memDir(t), newFakeDisk()
	s := openAt(t, root, Options{open: disk.open})
	commit(t, s, "base", "", "base")
	commit(t, s, "top", "base", "top")
	disk.failNotes = errInjected
	require.NoError(t, s.Rename(t.Context(), "base", "renamed"))
	disk.failNotes = nil
	row, err := s.row("renamed")
	require.NoError(t, err)
	record, err := s.driver.(driver.Recorder).Record(t.Context(), layerOf(row))
	require.NoError(t, err)
	c, _, err := readCard(record)
	require.NoError(t, err)
	require.Equal(t, "base", c.Name, "the record that could not be written")
	for _, l := range inspect(t, s) {
		require.Empty(t, l.Faults, l.Name)
	}
	require.NoError(t, s.Close())

	s = openAt(t, root, Options{open: disk.open})
	requireCards(t, s, "renamed", "top")
	requireSound(t, s)
	require.NoError(t, s.db.View(func(tx *meta.Tx) error {
		require.False(t, tx.HasRecords(recordRenamed))
		return nil
	}))
}

// A snapshot and its child are renamed at the same time. Each rename writes
// both names into the record of the child.
func TestRenamesAtTheSameTimeLeaveNoOldName(t *testing.T) {
	root, disk := memDir(t), newFakeDisk()
	s := openAt(t, root, Options{open: disk.open})
	commit(t, s, "base 0", "", "base")
	commit(t, s, "top 0", "base 0", "top")
	const times = 30
	var all sync.WaitGroup
	for _, name := range []string{"base", "top"} {
		all.Go(func() {
			for i := range times {
				assert.NoError(t, s.Rename(context.Background(), fmt.Sprint(name, " ", i), fmt.Sprint(name, " ", i+1)))
			}
		})
	}
	all.Wait()
	require.Equal(t, []string{fmt.Sprint("base ", times), fmt.Sprint("top ", times)}, namesOf(t, s))
	for _, l := range inspect(t, s) {
		require.Empty(t, l.Faults, l.Name)
	}
	require.NoError(t, s.Close())
	s = openAt(t, root, Options{open: disk.open})
	requireSound(t, s)
}

// While the driver works, a call on a snapshot knows the parent by its name.
func TestARenameWaitsForWorkOnWhatIsBuiltOnTheSnapshot(t *testing.T) {
	s, _ := openFake(t)
	commit(t, s, "base", "", "base")
	active(t, s, "work", "base", "work")
	active(t, s, "busy", "base", "busy")
	var renames sync.WaitGroup
	began := make(chan struct{})
	s.hook = func(point string) error {
		if point != "commit before" {
			return nil
		}
		s.hook = nil
		renames.Go(func() {
			close(began)
			assert.NoError(t, s.Rename(context.Background(), "base", "renamed"))
		})
		<-began
		_, err := s.Stat(context.Background(), "base")
		return err
	}
	require.NoError(t, s.Commit(t.Context(), "done", "work"))
	renames.Wait()
	commit(t, s, "base", "", "another")
	require.NoError(t, s.Remove(t.Context(), "busy"))
	for name, parent := range map[string]string{"done": "renamed", "renamed": "", "base": ""} {
		require.Equal(t, parent, rowsOf(t, s)[name].Parent, name)
	}
	for _, l := range inspect(t, s) {
		require.Empty(t, l.Faults, l.Name)
	}
	requireSound(t, s)
}

func TestSnapshotsCanBeMadeOnOneThatIsRenamed(t *testing.T) {
	s, _ := openFake(t)
	commit(t, s, "base 0", "", "base")
	const times = 40
	var all sync.WaitGroup
	all.Go(func() {
		for i := range times {
			assert.NoError(t, s.Rename(context.Background(), fmt.Sprint("base ", i), fmt.Sprint("base ", i+1)))
		}
	})
	for worker := range 2 {
		all.Go(func() {
			for i := range times {
				key := fmt.Sprint(worker, " ", i)
				parent := fmt.Sprint("base ", i)
				err := s.Create(context.Background(), key, parent)
				if errdefs.IsNotFound(err) {
					continue // it was renamed meanwhile
				}
				assert.NoError(t, err)
				assert.NoError(t, s.Commit(context.Background(), key+" done", key))
			}
		})
	}
	all.Wait()
	for name, row := range rowsOf(t, s) {
		if row.Parent != "" {
			require.Equal(t, fmt.Sprint("base ", times), row.Parent, name)
		}
	}
	for _, l := range inspect(t, s) {
		require.Empty(t, l.Faults, l.Name)
	}
	requireSound(t, s)
}

func TestALayerThatIsMissingKeepsNoRenameUnfinished(t *testing.T) {
	root, disk := memDir(t), newFakeDisk()
	s := openAt(t, root, Options{open: disk.open})
	commit(t, s, "base", "", "base")
	commit(t, s, "top", "base", "top")
	delete(disk.layers, layerOf(rowsOf(t, s)["top"]))
	require.NoError(t, s.Rename(t.Context(), "base", "renamed"))
	require.NoError(t, s.db.View(func(tx *meta.Tx) error {
		require.False(t, tx.HasRecords(recordRenamed))
		return nil
	}))
	require.Len(t, inspect(t, s)[1].Faults, 1)
}

// inspect returns the result of Inspect.
func inspect(t *testing.T, s *Snapshotter) []Layer {
	t.Helper()
	layers, err := s.Inspect(t.Context())
	require.NoError(t, err)
	return layers
}
