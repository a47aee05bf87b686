package snapshotter

import (
	"testing"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
)

// requireCards requires that the record of each snapshot's layer agrees with
// its row.
func requireCards(t *testing.T, s *Snapshotter, names ...string) {
	t.Helper()
	for _, name := range names {
		row, err := s.row(name)
		require.NoError(t, err)
		r, err := s.driver.(driver.Recorder).Record(t.Context(), layerOf(row))
		require.NoError(t, err)
		c, ok, err := readCard(r)
		require.NoError(t, err)
		require.True(t, ok, name)
		require.Positive(t, c.Generation)
		c.Generation = 0
		require.Equal(t, card{
			Store: s.id, Name: row.Name, Parent: row.Parent, Kind: row.Kind, Labels: row.Labels, Created: row.Created,
			Digest: row.Digest,
		}, c, name)
	}
}

func TestTheRecordOfALayerTellsItsSnapshot(t *testing.T) {
	root, disk := memDir(t), newFakeDisk()
	s := openAt(t, root, Options{open: disk.open})
	labels := snapshots.WithLabels(map[string]string{"a": "1", "b": "<&>"})
	require.NoError(t, s.Create(t.Context(), "base key", "", labels))
	requireCards(t, s, "base key")
	require.NoError(t, s.Commit(t.Context(), "base", "base key", labels))
	commit(t, s, "top", "base", "top")
	active(t, s, "work", "top", "work")
	_, err := s.View(t.Context(), "view", "top")
	require.NoError(t, err)
	active(t, s, "loose", "", "loose")
	require.NoError(t, s.Commit(t.Context(), "rebased", "loose", snapshots.WithParent("top")))
	for range 2 {
		requireCards(t, s, "base", "top", "work", "view", "rebased")
		require.NoError(t, s.Close())
		s = openAt(t, root, Options{open: disk.open})
	}
}

// After a commit that failed with the layer already sealed, another commit may
// use another name.
func TestTheRecordTellsTheNameOfTheLastTry(t *testing.T) {
	root, disk := memDir(t), newFakeDisk()
	s := openAt(t, root, Options{open: disk.open})
	active(t, s, "key", "", "x")
	s.hook = func(point string) error {
		if point == "commit before" {
			return errInjected
		}
		return nil
	}
	require.ErrorIs(t, s.Commit(t.Context(), "first", "key"), errInjected)
	s.hook = nil
	require.NoError(t, s.Commit(t.Context(), "second", "key"))
	requireCards(t, s, "second")
}
