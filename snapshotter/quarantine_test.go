package snapshotter

import (
	"testing"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

func TestNothingNewIsMadeOnWhatIsInQuarantine(t *testing.T) {
	s, _ := openFake(t)
	commit(t, s, "base", "", "b")
	commit(t, s, "top", "base", "t")
	commit(t, s, "other", "", "o")
	active(t, s, "box", "top", "x")
	require.NoError(t, s.Quarantine(t.Context(), "base", "usr/bin/true: content differs", true))

	for _, parent := range []string{"base", "top"} {
		_, err := s.Prepare(t.Context(), "new", parent)
		require.ErrorIs(t, err, ErrLayerDamaged, parent)
		require.ErrorIs(t, err, errdefs.ErrDataLoss, parent)
		require.ErrorContains(t, err, `snapshot "base"`)
		require.ErrorContains(t, err, "usr/bin/true: content differs")
		_, err = s.View(t.Context(), "new", parent)
		require.ErrorIs(t, err, ErrLayerDamaged, parent)
		_, err = s.MountValues(t.Context(), parent, driver.MountOptions{})
		require.ErrorIs(t, err, ErrLayerDamaged, parent)
	}
	_, err := s.Mounts(t.Context(), "box")
	require.ErrorIs(t, err, ErrLayerDamaged)
	require.ErrorIs(t, s.Usable(t.Context(), "base"), ErrQuarantined)
	require.True(t, IsDamage(s.Usable(t.Context(), "base")))
	state, err := s.LayerState(t.Context(), "base")
	require.NoError(t, err)
	require.Equal(t, LayerQuarantined, state)
	require.ErrorIs(t, s.whole(t.Context(), "top"), errdefs.ErrNotFound, "an engine unpacks it again")
	all, err := s.Quarantined()
	require.NoError(t, err)
	require.Len(t, all, 1)
	require.True(t, all["base"].ReadData)

	// Other snapshots still work, and those in quarantine can be read and removed.
	require.NoError(t, s.Create(t.Context(), "another", "other"))
	require.NotEmpty(t, diffOf(t, s, "top"))
	require.NoError(t, s.Commit(t.Context(), "kept", "box"), "what was written in a container is not lost")
	for _, key := range []string{"kept", "top"} {
		require.NoError(t, s.Remove(t.Context(), key))
	}
	require.NoError(t, s.Release(t.Context(), "base"))
	require.NoError(t, s.Release(t.Context(), "base"), "twice")
	require.NoError(t, s.Create(t.Context(), "new", "base"))
}

// A quarantine belongs to one snapshot, not to a name.
func TestAQuarantineEndsWithItsSnapshot(t *testing.T) {
	s, _ := openFake(t)
	commit(t, s, "base", "", "b")
	require.NoError(t, s.Quarantine(t.Context(), "base", "rotten", false))
	require.NoError(t, s.Remove(t.Context(), "base"))
	commit(t, s, "base", "", "b")
	require.NoError(t, s.Create(t.Context(), "new", "base"))
	all, err := s.Quarantined()
	require.NoError(t, err)
	require.Empty(t, all)
}

func TestOnlyWhatIsCommittedIsPutIntoQuarantine(t *testing.T) {
	s, _ := openFake(t)
	require.NoError(t, s.Create(t.Context(), "box", ""))
	require.ErrorIs(t, s.Quarantine(t.Context(), "box", "x", false), errdefs.ErrFailedPrecondition)
	require.ErrorIs(t, s.Quarantine(t.Context(), "none", "x", false), errdefs.ErrNotFound)
	require.NoError(t, s.Release(t.Context(), "none"))
}

// A damaged record of a quarantine affects its snapshot and the snapshots over
// it, and no others.
func TestADamagedQuarantineStopsItsSnapshotOnly(t *testing.T) {
	s, _ := openFake(t)
	for _, name := range []string{"rotten", "other"} {
		commit(t, s, name, "", name)
	}
	require.NoError(t, s.update("test", func(tx *meta.Tx) error {
		return tx.PutRecord(recordQuarantine, "rotten", "no quarantine")
	}))
	require.ErrorIs(t, s.Create(t.Context(), "new", "rotten"), meta.ErrDamaged)
	require.NoError(t, s.Create(t.Context(), "new", "other"))
	require.NoError(t, s.Commit(t.Context(), "kept", "new"))
	require.NoError(t, s.Release(t.Context(), "rotten"))
	require.NoError(t, s.Create(t.Context(), "new", "rotten"))
}
