package mount_test

import (
	"os"
	"testing"

	"github.com/moby/sys/mountinfo"
	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/mount"
)

func TestWhatIsProbedInMemoryIsSeenNowhere(t *testing.T) {
	if !fstest.CanMount(t) {
		t.Skip("no permission to mount")
	}
	for _, way := range []mount.Way{0, mount.WayStrings, mount.WayMount2} {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(dir+"/mine", nil, 0o600))
		before, err := mount.Mounter{First: way}.Probe(t.Context(), t.TempDir(), false)
		require.NoError(t, err)
		var found mount.Features
		require.NoError(t, mount.Mounter{First: way}.InMemory(dir, func(mr mount.Mounter, tmpfs string) (err error) {
			require.NoFileExists(t, tmpfs+"/mine")
			found, err = mr.Probe(t.Context(), tmpfs, false)
			return err
		}))
		require.Equal(t, before.Way, found.Way)
		require.Equal(t, before.Escapes, found.Escapes)
		require.Equal(t, before.RedirectDir, found.RedirectDir)
		names, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Len(t, names, 1)
		mounted, err := mountinfo.Mounted(dir)
		require.NoError(t, err)
		require.False(t, mounted)
	}
}
