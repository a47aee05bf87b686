package snapshotter

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
)

// requireCards requires that the record of the layer of each snapshot tells its row.
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
		require.True(t, c.isIntact())
		c.Generation, c.Sum = 0, ""
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
	require.NoError(t, s.Make(t.Context(), "base key", "", labels))
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

func TestAFlippedBitInWhatARecordSaysOfItsSnapshotIsFoundAndMended(t *testing.T) {
	root, disk := memDir(t), newFakeDisk()
	s := openAt(t, root, Options{open: disk.open})
	active(t, s, "key", "", "x")
	require.NoError(t, s.Commit(t.Context(), "name", "key", snapshots.WithLabels(map[string]string{"label": "value"})))
	row, err := s.row("name")
	require.NoError(t, err)
	r := s.driver.(driver.Recorder)
	record, err := r.Record(t.Context(), layerOf(row))
	require.NoError(t, err)
	for bit := range 8 * len(record.Note) {
		note := bytes.Clone(record.Note)
		note[bit/8] ^= 1 << (bit % 8)
		if !json.Valid(note) {
			continue // the whole record is
		}
		require.NoError(t, r.Note(t.Context(), layerOf(row), note))
		layers, err := s.Inspect(t.Context())
		require.NoError(t, err)
		if len(layers[0].Faults) == 0 { // the same with a capital letter, or a sum that is none any more
			c, ok, err := readCard(driver.Record{Note: note})
			require.NoError(t, err)
			require.True(t, ok)
			c.Sum = ""
			want, _, err := readCard(record)
			require.NoError(t, err)
			want.Sum = ""
			require.Equal(t, want, c, "%s", note)
			continue
		}
		require.ErrorIs(t, layers[0].Faults[0], ErrRecord)
	}
	require.NoError(t, s.Reinscribe(t.Context(), "name", false))
	layers, err := s.Inspect(t.Context())
	require.NoError(t, err)
	require.Empty(t, layers[0].Faults)
	requireCards(t, s, "name")
}

// A commit that failed after its layer was sealed may be tried under another name.
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
