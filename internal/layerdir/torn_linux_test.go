package layerdir

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/fstest"
)

// If the disk lost a write, each layer that is not sealed is marked, or the
// error says that one could not be marked. In the latter case no sync succeeds
// until all layers are marked.
func TestADoubtfulLayerIsMarkedOrTheErrorSaysSo(t *testing.T) {
	calls := fstest.NewCalls(t)
	s := lifeStore(t)
	made, _ := calls.Fail(t, 0, 0, func() { require.NoError(t, s.doubt()) })
	require.Positive(t, made)
	require.FileExists(t, s.Path("open", tornName))
	require.NoFileExists(t, s.Path("sealed", tornName))
	require.NoFileExists(t, s.Path("view", tornName))
	said := 0
	for n := 1; n <= made; n++ {
		s := lifeStore(t)
		var err error
		_, failed := calls.Fail(t, n, unix.EIO, func() { err = s.doubt() })
		if err == nil {
			require.FileExists(t, s.Path("open", tornName), "call %d, %s", n, failed)
			continue
		}
		said++
		require.ErrorIs(t, err, unix.EIO, "call %d, %s", n, failed)
		require.ErrorIs(t, s.syncLayer("open"), driver.ErrTorn, "call %d, %s", n, failed)
		require.FileExists(t, s.Path("open", tornName), "call %d, %s", n, failed)
		require.False(t, s.doubtful)
	}
	require.GreaterOrEqual(t, said, 4, "opening, syncing, closing a mark, syncing its directory")
}

// After the marks are written at last, the store is synced again, because later
// changes may not be on the disk.
func TestADoubtfulStoreIsSyncedOnceMore(t *testing.T) {
	calls := fstest.NewCalls(t)
	for n, failed := 1, ""; failed != "syncfs"; n++ {
		s := lifeStore(t)
		s.doubtful = true
		var err error
		_, failed = calls.Fail(t, n, unix.EIO, func() { err = s.sync() })
		require.NotEmpty(t, failed, "it does not sync")
		if failed == "syncfs" {
			require.ErrorIs(t, err, unix.EIO)
		}
	}
}

func TestAMarkThatCannotBeLookedForIsAnError(t *testing.T) {
	s := lifeStore(t)
	require.NoError(t, s.Remove("open"))
	require.NoError(t, s.tear("open"), "it is gone, and so is what may be wrong with it")
	require.NoError(t, os.WriteFile(s.Path("open"), nil, 0o600))
	require.ErrorIs(t, s.notLost("open"), driver.ErrTorn)
	s.torn = map[driver.ID]bool{}
	require.ErrorIs(t, s.notTorn("open"), unix.ENOTDIR)
	require.ErrorIs(t, s.notLost("open"), unix.ENOTDIR)
	require.ErrorIs(t, s.tear("open"), unix.ENOTDIR)
	require.True(t, s.torn["open"])
}
