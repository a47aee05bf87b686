package layerdir

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/tar"
)

func open(t *testing.T) *Store {
	t.Helper()
	s, err := Open(t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func entries(t *testing.T, dir string) (names []string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

func TestALayerAppearsWholeOrNotAtAll(t *testing.T) {
	s := open(t)
	boom := errors.New("boom")
	require.ErrorIs(t, s.Create("a", Meta{}, func(dir string) error {
		require.NoError(t, os.Mkdir(dir+"/fs", 0o755))
		require.Equal(t, filepath.Dir(dir), s.Root())
		return boom
	}), boom)
	require.Empty(t, entries(t, s.Root()))

	require.NoError(t, s.Create("a", Meta{Parents: []driver.ID{"p"}}, func(string) error { return nil }))
	require.ErrorIs(t, s.Create("a", Meta{}, func(string) error { return nil }), driver.ErrExists)
	m, err := s.Load("a")
	require.NoError(t, err)
	require.Equal(t, Meta{Version: 1, Parents: []driver.ID{"p"}}, m)
	ids, err := s.List()
	require.NoError(t, err)
	require.Equal(t, []driver.ID{"a"}, ids)
}

func TestALayerThatAppearsMeanwhileIsNotReplaced(t *testing.T) {
	s := open(t)
	err := s.Create("a", Meta{}, func(string) error {
		require.NoError(t, os.MkdirAll(s.Path("a", "other"), 0o700))
		return nil
	})
	require.ErrorIs(t, err, driver.ErrExists)
	require.DirExists(t, s.Path("a", "other"))
	require.Equal(t, []string{"a"}, entries(t, s.Root()))
}

func TestRemoveTwiceIsNoErrorAndCleanupFreesWhatIsLeft(t *testing.T) {
	s := open(t)
	require.NoError(t, s.Create("a", Meta{}, func(string) error { return nil }))
	require.NoError(t, s.Remove("a"))
	require.NoError(t, s.Remove("a"))
	_, err := s.Load("a")
	require.ErrorIs(t, err, driver.ErrNotFound)

	for _, left := range []string{".trash-x-1", ".new-x-1"} { // left by a process that was killed
		require.NoError(t, os.MkdirAll(filepath.Join(s.Root(), left, "d"), 0o700))
	}
	mine, done, err := s.Staging("y")
	require.NoError(t, err)
	require.NoError(t, s.Close())
	require.NoError(t, s.Cleanup(t.Context()))
	require.Equal(t, []string{filepath.Base(mine)}, entries(t, s.Root()), "what is in use stays")
	done()
	require.Empty(t, entries(t, s.Root()))
}

func TestARemovedLayerGoesWithWhatIsImmutableInIt(t *testing.T) {
	s := open(t)
	require.NoError(t, s.Create("a", Meta{}, func(dir string) error {
		return errors.Join(os.MkdirAll(dir+"/d/e", 0o755), os.WriteFile(dir+"/d/e/f", nil, 0o600))
	}))
	for path, flag := range map[string]int{"d/e/f": 0x10, "d/e": 0x20, "d": 0x10} { // FS_IMMUTABLE_FL, FS_APPEND_FL
		f, err := os.Open(s.Path("a", path))
		require.NoError(t, err)
		err = unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flag)
		require.NoError(t, f.Close())
		if err != nil {
			t.Skipf("this process, or this file system, has no such flags: %v", err)
		}
	}
	require.NoError(t, s.Remove("a"))
	require.NoError(t, s.Close())
	require.NoError(t, s.Cleanup(t.Context()))
	require.Empty(t, entries(t, s.Root()))
}

func TestALayerLeftInTheMiddleOfAMergeCanOnlyBeRemoved(t *testing.T) {
	boom := errors.New("boom")
	for name, c := range map[string]struct {
		merge func() error
		sync  bool
		torn  bool
	}{
		"merged":                  {func() error { return nil }, false, false},
		"merged, on disk":         {func() error { return nil }, true, false},
		"taken back for good":     {func() error { return boom }, true, false},
		"killed before the sync":  {func() error { panic(boom) }, true, true},
		"taken back":              {func() error { return boom }, false, false},
		"killed":                  {func() error { panic(boom) }, false, true},
		"could not be taken back": {func() error { return tar.ErrTorn }, false, true},
		"and that error, wrapped": {func() error { return errors.Join(boom, tar.ErrTorn) }, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			require.NoError(t, s.Create("a", Meta{}, func(dir string) error { return os.Mkdir(dir+"/tree", 0o755) }))
			func() {
				defer func() { _ = recover() }()
				var merged error
				require.ErrorIs(t, s.Merging("a", c.sync, func() error {
					merged = c.merge()
					return merged
				}), merged)
			}()
			_, err := s.Writable("a")
			sealed := s.Seal(t.Context(), "a", "tree", func(*Meta) error { return nil })
			if !c.torn {
				require.NoError(t, err)
				require.NoError(t, sealed)
				return
			}
			require.ErrorIs(t, err, driver.ErrTorn)
			require.ErrorIs(t, sealed, driver.ErrTorn)
			require.NoError(t, s.Remove("a"))
			_, err = s.Load("a")
			require.ErrorIs(t, err, driver.ErrNotFound)
		})
	}
}

func TestCleanupUnmountsWhatAKilledProbeHasLeftMounted(t *testing.T) {
	s := open(t)
	left := filepath.Join(s.Root(), ".new-probe-1")
	require.NoError(t, os.MkdirAll(left+"/merged", 0o700))
	outside := bindOutside(t, left+"/merged")
	require.NoError(t, s.Cleanup(t.Context()))
	require.Empty(t, entries(t, s.Root()))
	require.FileExists(t, outside+"/f", "nothing was deleted through the mount")
}

func TestALayerInWhichSomethingIsMountedIsBusy(t *testing.T) {
	s := open(t)
	require.NoError(t, s.Create("a", Meta{}, func(dir string) error { return os.MkdirAll(dir+"/tree/d", 0o755) }))
	at := s.Path("a", "tree", "d")
	bindOutside(t, at)
	require.ErrorIs(t, s.RemoveIdle("a"), driver.ErrBusy)
	require.ErrorContains(t, s.RemoveIdle("a"), at)
	require.ErrorIs(t, s.Seal(t.Context(), "a", "tree", func(*Meta) error { return nil }), driver.ErrBusy)
	require.NoError(t, unix.Unmount(at, 0))
	require.NoError(t, s.RemoveIdle("a"))
}

func TestNothingIsDeletedThroughAMountInARemovedLayer(t *testing.T) {
	s := open(t)
	require.NoError(t, s.Create("a", Meta{}, func(dir string) error { return os.Mkdir(dir+"/d", 0o755) }))
	outside := bindOutside(t, s.Path("a", "d"))
	require.NoError(t, s.Remove("a"))
	require.NoError(t, s.Close())
	require.FileExists(t, outside+"/f")
	require.Empty(t, entries(t, s.Root()))
}

// bindOutside mounts a directory with the file f on a directory of a layer.
func bindOutside(t *testing.T, at string) (outside string) {
	t.Helper()
	outside = t.TempDir()
	require.NoError(t, os.WriteFile(outside+"/f", nil, 0o600))
	if err := unix.Mount(outside, at, "", unix.MS_BIND, ""); err != nil {
		t.Skipf("no permission to mount: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(at, unix.MNT_DETACH) })
	return outside
}

func TestARecordOfANewerVersionIsRefused(t *testing.T) {
	s := open(t)
	require.NoError(t, s.Create("a", Meta{}, func(string) error { return nil }))
	require.NoError(t, os.WriteFile(s.Path("a", RecordName), []byte(`{"version":2}`), 0o600))
	_, err := s.Load("a")
	require.ErrorIs(t, err, driver.ErrUnsupported)
	require.NoError(t, os.WriteFile(s.Path("a", RecordName), nil, 0o600))
	_, err = s.Load("a")
	require.ErrorContains(t, err, "a: layer.json")
}

func TestIDsThatWouldLeaveTheStoreAreRefused(t *testing.T) {
	s := open(t)
	for _, id := range []driver.ID{"", ".", "..", "a/b", ".new-a"} {
		require.ErrorIs(t, s.Create(id, Meta{}, func(string) error { return nil }), driver.ErrInvalidID)
		require.ErrorIs(t, s.Remove(id), driver.ErrInvalidID)
		_, err := s.Load(id)
		require.ErrorIs(t, err, driver.ErrInvalidID)
	}
}

func TestUsageCountsBlocksAndHardLinksOnce(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(dir+"/d", 0o755))
	require.NoError(t, os.WriteFile(dir+"/d/f", make([]byte, 100_000), 0o644))
	require.NoError(t, os.Link(dir+"/d/f", dir+"/link"))
	f, err := os.Create(dir + "/sparse")
	require.NoError(t, err)
	require.NoError(t, f.Truncate(1<<30))
	require.NoError(t, f.Close())
	u, err := Usage(t.Context(), dir)
	require.NoError(t, err)
	require.EqualValues(t, 4, u.Inodes, "root, d, f, sparse")
	require.Greater(t, u.Bytes, int64(90_000))
	require.Less(t, u.Bytes, int64(190_000))
}
