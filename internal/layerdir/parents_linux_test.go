package layerdir

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
)

func TestWhatALayerHasFromItsParents(t *testing.T) {
	s := open(t)
	create := func(id driver.ID, m Meta) {
		require.NoError(t, s.Create(id, m, func(string) error { return nil }))
	}
	create("plain", Meta{Sealed: true})
	create("escaped", Meta{Sealed: true, Escaped: true})
	create("metacopy", Meta{Sealed: true, Metacopy: true})
	create("open", Meta{})
	for range 2 { // the second time from memory
		for _, c := range []struct {
			parents []driver.ID
			want    Inherited
		}{
			{nil, Inherited{}},
			{[]driver.ID{"plain"}, Inherited{}},
			{[]driver.ID{"escaped", "plain"}, Inherited{Escaped: true}},
			{[]driver.ID{"plain", "metacopy", "escaped"}, Inherited{true, true}},
		} {
			got, err := s.CheckParents(c.parents)
			require.NoError(t, err)
			require.Equal(t, c.want, got, c.parents)
		}
		_, err := s.CheckParents([]driver.ID{"plain", "open"})
		require.ErrorIs(t, err, driver.ErrNotSealed)
		require.ErrorContains(t, err, "parent open")
		_, err = s.CheckParents([]driver.ID{"none", "plain"})
		require.ErrorIs(t, err, driver.ErrNotFound)
		require.ErrorContains(t, err, "parent none")
		_, err = s.CheckParents([]driver.ID{"../x"})
		require.ErrorIs(t, err, driver.ErrInvalidID)
	}
	require.NoError(t, s.Save("open", Meta{Sealed: true, Escaped: true}))
	got, err := s.CheckParents([]driver.ID{"open"})
	require.NoError(t, err)
	require.Equal(t, Inherited{Escaped: true}, got)
}

// If a record was replaced, by another process or for another layer of the same
// name, the new record counts, and not the remembered one.
func TestARecordThatWasReplacedIsReadAnew(t *testing.T) {
	s := open(t)
	other, err := Open(s.Root())
	require.NoError(t, err)
	parents := []driver.ID{"a"}
	require.NoError(t, s.Create("a", Meta{Sealed: true}, func(string) error { return nil }))
	_, err = s.CheckParents(parents)
	require.NoError(t, err)
	require.NoError(t, other.Save("a", Meta{Sealed: true, Metacopy: true}))
	got, err := s.CheckParents(parents)
	require.NoError(t, err)
	require.Equal(t, Inherited{Metacopy: true}, got)
	require.NoError(t, other.Remove("a"))
	_, err = s.CheckParents(parents)
	require.ErrorIs(t, err, driver.ErrNotFound)
	require.NoError(t, other.Create("a", Meta{}, func(string) error { return nil }))
	_, err = s.CheckParents(parents)
	require.ErrorIs(t, err, driver.ErrNotSealed)
	require.NoError(t, other.Close())
}

func TestNotMoreRecordsAreRememberedThanTheBound(t *testing.T) {
	s := open(t)
	for i := range maxSealed {
		s.sealed[driver.ID(rune('0'+i))] = sealedRecord{}
	}
	require.NoError(t, s.Create("a", Meta{Sealed: true}, func(string) error { return nil }))
	_, err := s.CheckParents([]driver.ID{"a"})
	require.NoError(t, err)
	require.Len(t, s.sealed, 1)
}
