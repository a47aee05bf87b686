package mount

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// The kernel knows whether an overlay is in use, also of one that no mount
// table has.
func TestAWorkDirectoryInUseIsFound(t *testing.T) {
	eachWay(t, func(t *testing.T, mr Mounter) {
		dir := t.TempDir()
		m := overlayIn(t, dir, "l", "u", "w")
		m.Options = []string{"index=off"}
		inUse := func() bool {
			t.Helper()
			used, known, err := mr.WorkInUse(t.Context(), m.Overlay.Work, t.TempDir(), false)
			require.NoError(t, err)
			if !known {
				t.Skip("no overlay can have an index here")
			}
			require.NoDirExists(t, filepath.Join(m.Overlay.Work, "index"))
			return used
		}
		require.False(t, inUse())
		dst := filepath.Join(dir, "dst")
		mkdirs(t, dst)
		mountFor(t, mr, m, dst)
		require.True(t, inUse())
		require.NoError(t, Unmount(dst))
		require.False(t, inUse())

		mountFor(t, mr, m, dst)
		f, err := os.Create(filepath.Join(dst, "f"))
		require.NoError(t, err)
		require.NoError(t, unix.Unmount(dst, unix.MNT_DETACH))
		require.True(t, inUse())
		require.NoError(t, f.Close())
		require.Eventually(t, func() bool { return !inUse() }, time.Minute, 10*time.Millisecond)

		// What was asked does not keep the layer from being mounted again.
		mountFor(t, mr, m, dst)
		write(t, dst+"/g", "g")
		require.Equal(t, "g", read(t, m.Overlay.Upper+"/g"))
	})
}

func TestWhetherAWorkDirectoryIsInUseMayNotBeKnown(t *testing.T) {
	needMounts(t)
	used, known, err := Mounter{}.WorkInUse(t.Context(), filepath.Join(t.TempDir(), "missing"), t.TempDir(), false)
	require.NoError(t, err)
	require.False(t, used)
	require.False(t, known)
}
