package image

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/snapshotter"
)

// A full store can still export everything, also what was never exported
// before.
func TestAnExportNeedsNoRoomInTheStore(t *testing.T) {
	dir := fstest.ScratchSize(t, fstest.Ext4, 32)
	snaps, err := snapshotter.Open(t.Context(), filepath.Join(dir, "store"), snapshotter.Options{Driver: "vfs"})
	require.NoError(t, err)
	s, err := Open(snaps)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, snaps.Close()) })
	s.change(t, "mine", "", makeTar(t, file{name: "a", body: noise(3 << 20)}), nil)
	fill, err := os.Create(filepath.Join(dir, "fill"))
	require.NoError(t, err)
	for block := make([]byte, 4096); err == nil; {
		_, err = fill.Write(block)
	}
	require.ErrorIs(t, err, unix.ENOSPC)
	require.NoError(t, fill.Close())

	full, err := s.Export(t.Context(), "mine", io.Discard, ExportOptions{})
	require.NoError(t, err)
	require.Empty(t, s.contents(t).Ingest)
	require.NoError(t, os.Remove(fill.Name()))
	again, err := s.Export(t.Context(), "mine", io.Discard, ExportOptions{})
	require.NoError(t, err)
	require.Equal(t, full.Target.Digest, again.Target.Digest)
}
