package btrfs

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/subvol"
)

// A snapshot of a subvolume shows a nested subvolume as an empty directory. The
// kernel gives that directory the time at which it is read.
func TestWhatStandsForASubvolumeHasOneTime(t *testing.T) {
	f := newFixture(t, driver.Options{})
	f.create("a", driver.CreateOptions{})
	subvolume(t, f.in("a", "one"))
	subvolume(t, f.in("a", "one", "inner"))
	src, err := os.Open(f.in("a", "one"))
	require.NoError(t, err)
	dir, err := os.Open(f.in("a"))
	require.NoError(t, err)
	require.NoError(t, subvol.Snapshot(src, dir, "two"))
	require.NoError(t, dir.Close())
	require.NoError(t, src.Close())
	var st unix.Stat_t
	require.NoError(t, unix.Stat(f.in("a", "two", "inner"), &st))
	require.EqualValues(t, stubInode, st.Ino)

	before := f.diff("a")
	require.True(t, f.tree("a")["two/inner"].Mtime.Equal(time.Unix(0, 0)))
	f.seal("a")
	require.Equal(t, before, f.diff("a"))
	require.NoError(t, unix.Stat(f.in("a", "two", "inner"), &st))
	require.Zero(t, st.Mtim.Sec, "as it is mounted, too")
}
