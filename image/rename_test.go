package image

import (
	"context"
	"testing"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/tar"
)

// An import finds existing layers by their names, and so does gc.
func TestLayersOfImagesAreNotRenamed(t *testing.T) {
	ctx := context.Background()
	s := newStore(t, "vfs")
	m := newMaker(t)
	m.add(m.image(imageSpec{layers: threeLayers(t, tar.None)}), "")
	img := s.mustImport(t, m.dir(), ImportOptions{Name: "app"})
	for _, l := range img.Layers {
		require.ErrorIs(t, s.RenameSnapshot(ctx, l.ChainID.String(), "mine"), errdefs.ErrFailedPrecondition)
	}
	require.NoError(t, s.snaps.Create(ctx, "work", img.Snapshot))
	_, err := s.Remove(ctx, "app")
	require.NoError(t, err)
	for _, l := range img.Layers { // they stay, because another snapshot is above them
		require.ErrorIs(t, s.RenameSnapshot(ctx, l.ChainID.String(), "mine"), errdefs.ErrFailedPrecondition)
	}
	require.NoError(t, s.snaps.Create(ctx, "import-x", "", snapshots.WithLabels(map[string]string{LabelImporting: "x"})))
	require.ErrorIs(t, s.RenameSnapshot(ctx, "import-x", "mine"), driver.ErrBusy)
	require.ErrorIs(t, s.RenameSnapshot(ctx, "none", "mine"), errdefs.ErrNotFound)

	require.NoError(t, s.RenameSnapshot(ctx, "work", "shop"))
	s.mustImport(t, m.dir(), ImportOptions{Name: "app"})
	info, err := s.snaps.Stat(ctx, "shop")
	require.NoError(t, err)
	require.Equal(t, img.Snapshot, info.Parent)
}
