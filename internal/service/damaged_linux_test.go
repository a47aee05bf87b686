package service

import (
	"io"
	"path/filepath"
	"testing"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/snapshotter"
)

func TestADamagedLayerIsDataLossForItsContainersAlone(t *testing.T) {
	onMountingDrivers(t, func(t *testing.T, name, root string) {
		s := start(t, root, name, nil)
		if _, ok := s.store.Driver().(driver.Replacer); !ok {
			t.Skip("its layers are no directories of their own")
		}
		ctx := asEngine(t)
		s.layer("base", "", "f", "x")
		s.layer("top", "base", "g", "y")
		s.layer("other", "", "h", "z")
		layers, err := s.store.Inspect(ctx)
		require.NoError(t, err)
		full := ""
		for _, l := range layers {
			if _, rest := snapshotter.ScopeOf(l.Name); rest == "top" {
				full = l.Name
				require.NoError(t, fstest.RemoveAll(filepath.Join(root, name, string(l.ID))))
			}
		}
		require.NotEmpty(t, full)

		_, err = s.engine.Prepare(ctx, "box", "top")
		require.True(t, errdefs.IsDataLoss(err), "%v", err)
		require.False(t, errdefs.IsNotFound(err), "%v", err)
		require.ErrorContains(t, err, full)
		require.ErrorContains(t, err, "snapctl repair")
		_, raw := snapshotsapi.NewSnapshotsClient(s.conn).Prepare(ctx, &snapshotsapi.PrepareSnapshotRequest{Key: "box", Parent: "top"})
		require.Equal(t, codes.DataLoss, status.Code(raw), "what an engine reads")
		_, err = s.engine.Stat(ctx, "top")
		require.ErrorIs(t, err, errdefs.ErrNotFound, "it unpacks the image again")
		_, err = s.tool().Diff(t.Context(), full, io.Discard, driver.DiffOptions{})
		require.ErrorIs(t, err, snapshotter.ErrLayerDamaged, "a tool of ours is told the same")

		for _, sound := range []string{"base", "other"} {
			_, err = s.engine.Stat(ctx, sound)
			require.NoError(t, err)
			_, err = s.engine.Prepare(ctx, "box on "+sound, sound)
			require.NoError(t, err)
		}
		for _, key := range []string{"box on base", "box on other", "top", "base", "other"} {
			require.NoError(t, s.engine.Remove(ctx, key), key)
		}
		s.requireSound()
	})
}
