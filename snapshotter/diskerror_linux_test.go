package snapshotter

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/driver/all"
	"github.com/layerkeep/layerkeep/driver/all/alltest"
	"github.com/layerkeep/layerkeep/internal/fstest"
)

// Data that a disk has lost is never committed. This must be so also when
// another process got the error of the sync, and the next sync succeeds.
func TestWhatADiskErrorMayHaveHitIsNotCommitted(t *testing.T) {
	for _, name := range all.Names() {
		for who, told := range map[string]func(t *testing.T, s *Snapshotter){
			"the commit is told": func(t *testing.T, s *Snapshotter) {
				err := s.Commit(t.Context(), "name", "key")
				require.True(t, fstest.IsFailing(err), "%v", err)
			},
			"somebody else is told": func(t *testing.T, s *Snapshotter) { syncElsewhere(t, s.Root()) },
		} {
			t.Run(name+"/"+who, func(t *testing.T) {
				alltest.SkipInShort(t, name)
				disk := fstest.NewFailingDisk(t)
				if err := alltest.Works(t, disk.Dir, name); err != nil {
					t.Skip(err)
				}
				root := disk.Dir + "/store"
				s := openAt(t, root, Options{Driver: name})
				commit(t, s, "base", "", layerTar("base"))
				require.NoError(t, s.Create(t.Context(), "key", "base"))
				active(t, s, "other", "base", layerTar("other"))
				disk.Trim(t)

				disk.Fail(t)
				_, err := s.Apply(t.Context(), "key", strings.NewReader(fileTar("big", strings.Repeat("x", 8<<20))), driver.ApplyOptions{})
				require.NoError(t, err, "it is in memory")
				told(t, s)
				disk.Heal(t)

				for range 2 {
					require.Error(t, s.Commit(t.Context(), "name", "key"))
				}
				require.ErrorIs(t, s.Commit(t.Context(), "name", "key"), driver.ErrTorn)
				require.ErrorIs(t, s.Commit(t.Context(), "name", "other"), driver.ErrTorn, "it may have been hit as well")
				require.NoError(t, s.Close())

				s = openAt(t, root, Options{})
				for _, key := range []string{"key", "other"} {
					require.ErrorIs(t, s.Commit(t.Context(), "name", key), driver.ErrTorn, "also after the next start")
					require.NoError(t, s.Remove(t.Context(), key))
				}
				require.Equal(t, map[string]string{"base": "base"}, filesOf(t, diffOf(t, s, "base")))
				active(t, s, "new", "base", layerTar("new"))
				require.NoError(t, s.Commit(t.Context(), "name", "new"))
				requireSound(t, s)
				require.NoError(t, s.Close())
			})
		}
	}
}

// syncElsewhere takes the error of the disk, so that the store does not get it.
func syncElsewhere(t *testing.T, path string) {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	err = unix.Syncfs(int(f.Fd()))
	require.True(t, fstest.IsFailing(err), "%v", err)
	later, err := os.Open(path)
	require.NoError(t, err)
	defer later.Close()
	require.NoError(t, unix.Syncfs(int(later.Fd())), "nobody else is told")
}
