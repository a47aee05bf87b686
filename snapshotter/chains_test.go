package snapshotter

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

func chainOfLayers(t *testing.T, s *Snapshotter, name string) (ids []driver.ID) {
	t.Helper()
	require.NoError(t, s.view(func(tx *meta.Tx) (err error) {
		ids, err = s.parents(tx, name)
		return err
	}))
	return ids
}

// chainByRows reads from the rows what parents must return.
func chainByRows(t *testing.T, s *Snapshotter, name string) (ids []driver.ID) {
	t.Helper()
	require.NoError(t, s.view(func(tx *meta.Tx) error {
		rows, err := tx.Chain(name)
		ids = layersOf(rows)
		return err
	}))
	return ids
}

func TestTheLayersOfAParentAreRemembered(t *testing.T) {
	s, _ := openFake(t)
	name := ""
	const n = 2*maxChains + 10
	for i := range n {
		key := fmt.Sprintf("layer-%d", i)
		require.NoError(t, s.Create(t.Context(), "active", name))
		require.NoError(t, s.Commit(t.Context(), key, "active"))
		name = key
		require.Equal(t, chainByRows(t, s, name), chainOfLayers(t, s, name))
	}
	require.Len(t, s.chains.last, maxChains)
	require.NoError(t, s.view(func(tx *meta.Tx) error {
		reading := testing.AllocsPerRun(5, func() { _, _ = s.parents(tx, name) })
		require.Less(t, reading, float64(n), "every row was read")
		return nil
	}))
	for _, i := range []int{0, 1, 5, n / 2, n - 1} {
		key := fmt.Sprintf("layer-%d", i)
		require.Equal(t, chainByRows(t, s, key), chainOfLayers(t, s, key))
	}
	got := chainOfLayers(t, s, name)
	clear(got) // the caller may change the result
	require.Equal(t, chainByRows(t, s, name), chainOfLayers(t, s, name))
}

// A snapshot that was removed and made again with the same name and another
// parent has its own layers.
func TestTheLayersOfARemovedSnapshotAreForgotten(t *testing.T) {
	s, _ := openFake(t)
	commit := func(name, parent string) {
		require.NoError(t, s.Create(t.Context(), "active", parent))
		require.NoError(t, s.Commit(t.Context(), name, "active"))
	}
	commit("a", "")
	commit("b", "")
	commit("top", "a")
	require.Equal(t, chainByRows(t, s, "top"), chainOfLayers(t, s, "top"))
	require.NoError(t, s.Remove(t.Context(), "top"))
	commit("top", "b")
	require.Equal(t, chainByRows(t, s, "top"), chainOfLayers(t, s, "top"))
	require.Len(t, chainOfLayers(t, s, "top"), 2)
	require.Empty(t, chainOfLayers(t, s, ""))
	require.ErrorIs(t, s.view(func(tx *meta.Tx) error {
		_, err := s.parents(tx, "nobody")
		return err
	}), meta.ErrNotFound)
}
