package snapshotter

import (
	"context"
	"fmt"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
)

func (d *fakeDriver) NoWriters(ctx context.Context, id driver.ID) error {
	return d.with(ctx, id, func(l *fakeLayer) error {
		if l.writers {
			return fmt.Errorf("process 7: %w", driver.ErrBusy)
		}
		return nil
	})
}

func (d *fakeDriver) SeesUnmounted() bool { return false }

func TestWhatIsStillWrittenToIsNotCommitted(t *testing.T) {
	s, disk := openFake(t)
	commit(t, s, "base", "", "base")
	active(t, s, "key", "base", "content")
	layer := disk.layers[layerOf(rowsOf(t, s)["key"])]

	layer.writers = true
	for range 2 {
		err := s.Commit(t.Context(), "name", "key")
		require.ErrorIs(t, err, driver.ErrBusy)
		require.True(t, errdefs.IsUnavailable(err) || errdefs.IsFailedPrecondition(err), "%v", err)
		require.ErrorContains(t, err, `"key"`)
		require.ErrorContains(t, err, "process 7")
	}
	require.False(t, layer.sealed)
	_, err := s.Stat(t.Context(), "name")
	require.ErrorIs(t, err, errdefs.ErrNotFound)

	layer.writers = false
	require.NoError(t, s.Commit(t.Context(), "name", "key"))
	require.True(t, layer.sealed)
	requireSound(t, s)
}
