package subvol_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/internal/subvol"
)

// privileged opens a directory on a scratch btrfs.
func privileged(t *testing.T) *os.File {
	t.Helper()
	dir := open(t, fstest.Scratch(t, fstest.Btrfs))
	_, err := subvol.NestedIn(dir)
	if errors.Is(err, unix.EPERM) {
		t.Skipf("searching a tree is not permitted here: %v", err)
	}
	require.NoError(t, err)
	return dir
}

func open(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func create(t *testing.T, dir *os.File, name string) *os.File {
	t.Helper()
	require.NoError(t, subvol.Create(dir, name))
	return open(t, dir.Name()+"/"+name)
}

func TestASnapshotHoldsWhatItsSourceHeldAndSaysWhatItIsOf(t *testing.T) {
	dir := privileged(t)
	a := create(t, dir, "a")
	require.NoError(t, os.WriteFile(a.Name()+"/f", []byte("f"), 0o600))
	require.NoError(t, subvol.Snapshot(a, dir, "b"))
	b := open(t, dir.Name()+"/b")
	require.FileExists(t, b.Name()+"/f")
	of, err := subvol.InfoOf(a)
	require.NoError(t, err)
	info, err := subvol.InfoOf(b)
	require.NoError(t, err)
	require.Equal(t, of.UUID, info.ParentUUID)
	require.NotEqual(t, of.ID, info.ID)
	require.GreaterOrEqual(t, info.Otransid, of.Otransid)
	is, err := subvol.IsSubvolume(b)
	require.NoError(t, err)
	require.True(t, is)
	is, err = subvol.IsSubvolume(dir)
	require.NoError(t, err)
	require.False(t, is, "a directory")
}

func TestAReadOnlySubvolumeTakesNothingUntilItIsWritableAgain(t *testing.T) {
	a := create(t, privileged(t), "a")
	for range 2 {
		require.NoError(t, subvol.SetReadOnly(a, true))
		is, err := subvol.ReadOnly(a)
		require.NoError(t, err)
		require.True(t, is)
		require.ErrorIs(t, os.Mkdir(a.Name()+"/d", 0o700), unix.EROFS)
	}
	require.NoError(t, subvol.SetReadOnly(a, false))
	require.NoError(t, os.Mkdir(a.Name()+"/d", 0o700))
}

func TestNamesThatWouldLeaveADirectoryAreRefused(t *testing.T) {
	dir := privileged(t)
	a := create(t, dir, "a")
	b := create(t, a, "b")
	for _, name := range []string{"", ".", "..", "a/b", "a\x00b", "/", strings.Repeat("x", 256)} {
		require.Error(t, subvol.Create(dir, name), "%q", name)
		require.Error(t, subvol.Snapshot(a, dir, name), "%q", name)
		require.Error(t, subvol.Destroy(b, name), "%q", name)
		_, err := subvol.DestroyAll(b, name)
		require.Error(t, err, "%q", name)
	}
	require.DirExists(t, b.Name())
	require.NoError(t, subvol.Create(dir, strings.Repeat("x", 255)))
}

func TestWhatIsNoSubvolumeIsNotDestroyed(t *testing.T) {
	dir := privileged(t)
	victim := create(t, dir, "victim")
	require.NoError(t, os.Mkdir(dir.Name()+"/d", 0o700))
	require.NoError(t, os.Symlink("victim", dir.Name()+"/link"))
	_, err := subvol.DestroyAll(dir, "d")
	require.ErrorIs(t, err, unix.ENOTDIR)
	_, err = subvol.DestroyAll(dir, "link")
	require.Error(t, err)
	_, err = subvol.DestroyAll(dir, "none")
	require.ErrorIs(t, err, os.ErrNotExist)
	require.DirExists(t, victim.Name())
}

func TestDestroyAllDestroysWhatIsInsideFirst(t *testing.T) {
	dir := privileged(t)
	a := create(t, dir, "a")
	require.NoError(t, mkdirs(a.Name(), 20))
	at, err := subvol.OpenDir(a, inode(t, a.Name(), 20))
	require.NoError(t, err)
	defer at.Close()
	require.NoError(t, subvol.Create(at, "deep"))
	for i := range 3 {
		b := create(t, a, fmt.Sprintf("b%d", i))
		c := create(t, b, "c")
		require.NoError(t, os.WriteFile(c.Name()+"/f", []byte("f"), 0o600))
		require.NoError(t, subvol.SetReadOnly(c, true))
		require.NoError(t, subvol.SetReadOnly(b, true))
	}
	require.NoError(t, subvol.SetReadOnly(a, true))
	ids, err := subvol.DestroyAll(dir, "a")
	require.NoError(t, err)
	require.Len(t, ids, 1+1+3+3)
	entries, err := os.ReadDir(dir.Name())
	require.NoError(t, err)
	require.Empty(t, entries)
}

// mkdirs makes directories in each other, one name at a time.
func mkdirs(path string, n int) error {
	fd, err := unix.Open(path, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	for range n {
		name := strings.Repeat("d", 250)
		if err := unix.Mkdirat(fd, name, 0o700); err != nil {
			return err
		}
		next, err := unix.Openat(fd, name, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err := errors.Join(err, unix.Close(fd)); err != nil {
			return err
		}
		fd = next
	}
	return unix.Close(fd)
}

// inode returns the inode number of the last of them.
func inode(t *testing.T, path string, n int) uint64 {
	t.Helper()
	fd, err := unix.Open(path, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	for range n {
		next, err := unix.Openat(fd, strings.Repeat("d", 250), unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		require.NoError(t, err)
		require.NoError(t, unix.Close(fd))
		fd = next
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	require.NoError(t, unix.Fstat(fd, &st))
	return st.Ino
}

func TestManySubvolumesInEachOtherAreDestroyedWithFewDescriptors(t *testing.T) {
	dir := privileged(t)
	const deep = 60
	at := create(t, dir, "v")
	for range deep {
		next := create(t, at, "v")
		require.NoError(t, at.Close())
		at = next
	}
	require.NoError(t, at.Close())
	var limit unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	probe, err := os.Open("/dev/null")
	require.NoError(t, err)
	few := uint64(probe.Fd()) + 12
	require.NoError(t, probe.Close())
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: few, Max: limit.Max}))
	ids, err := subvol.DestroyAll(dir, "v")
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &limit))
	require.NoError(t, err)
	require.Len(t, ids, deep+1)
}

func TestNestedSubvolumesAreFoundByTheirDirectory(t *testing.T) {
	dir := privileged(t)
	a := create(t, dir, "a")
	require.NoError(t, os.MkdirAll(a.Name()+"/x/y", 0o700))
	create(t, open(t, a.Name()+"/x/y"), "b")
	nested, err := subvol.NestedIn(a)
	require.NoError(t, err)
	require.Len(t, nested, 1)
	require.Equal(t, "b", nested[0].Name)
	names, err := subvol.PathOf(a, nested[0].Dir)
	require.NoError(t, err)
	require.Equal(t, []string{"x", "y"}, names)
	found, err := subvol.OpenDir(a, nested[0].Dir)
	require.NoError(t, err)
	defer found.Close()
	require.NoError(t, subvol.Destroy(found, "b"))
	_, err = subvol.PathOf(a, 1<<40)
	require.ErrorIs(t, err, subvol.ErrCorrupt)
}

func TestALimitIsKeptAndGoesWithTheSubvolume(t *testing.T) {
	for name, simple := range map[string]bool{"simple quotas": true, "quota groups": false} {
		t.Run(name, func(t *testing.T) {
			dir := privileged(t)
			off, err := subvol.QuotasOf(dir)
			require.NoError(t, err)
			require.Equal(t, subvol.Quotas{}, off)
			err = subvol.EnableQuota(dir, simple)
			if errors.Is(err, errors.ErrUnsupported) {
				t.Skipf("the kernel has no simple quotas: %v", err)
			}
			require.NoError(t, err)
			on, err := subvol.QuotasOf(dir)
			require.NoError(t, err)
			require.Equal(t, subvol.Quotas{On: true, Simple: simple}, on)
			fullOnesAreDestroyed(t, dir)
			limited(t, dir)
		})
	}
}

// fullOnesAreDestroyed destroys subvolumes that are at their limit, in which
// the kernel has no room for removing a name.
func fullOnesAreDestroyed(t *testing.T, dir *os.File) {
	t.Helper()
	outer := create(t, dir, "outer")
	inner := create(t, outer, "inner")
	create(t, inner, "innermost")
	for _, vol := range []*os.File{outer, inner} {
		info, err := subvol.InfoOf(vol)
		require.NoError(t, err)
		require.NoError(t, subvol.Limit(vol, info.ID, 1<<20))
		fill(t, vol)
	}
	require.ErrorIs(t, subvol.Destroy(inner, "innermost"), unix.EDQUOT)
	ids, err := subvol.DestroyAll(dir, "outer")
	require.NoError(t, err)
	require.Len(t, ids, 3)
}

// fill writes until nothing more fits, also not in the place of what the file
// system had only set aside.
func fill(t *testing.T, vol *os.File) {
	t.Helper()
	f, err := os.Create(vol.Name() + "/big")
	require.NoError(t, err)
	defer f.Close()
	for range 10 {
		for err == nil {
			_, err = f.Write(make([]byte, 4096))
		}
		require.ErrorIs(t, err, unix.EDQUOT)
		err = subvol.Sync(vol)
		require.NoError(t, err)
	}
}

func limited(t *testing.T, dir *os.File) {
	t.Helper()
	const limit = 8 << 20
	vol := create(t, dir, "vol")
	info, err := subvol.InfoOf(vol)
	require.NoError(t, err)
	require.NoError(t, subvol.Limit(vol, info.ID, limit))
	body := make([]byte, limit/2)
	require.NoError(t, os.WriteFile(vol.Name()+"/a", body, 0o600))
	require.ErrorIs(t, os.WriteFile(vol.Name()+"/b", append(body, body...), 0o600), unix.EDQUOT)
	require.NoError(t, subvol.Limit(vol, info.ID, subvol.NoLimit))
	require.NoError(t, os.WriteFile(vol.Name()+"/b", append(body, body...), 0o600))
	require.NoError(t, subvol.Limit(vol, info.ID, limit))
	require.NoError(t, subvol.Sync(dir))
	q, ok, err := subvol.QgroupOf(dir, info.ID)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, uint64(limit), q.Limit)
	require.InDelta(t, limit+limit/2, q.Exclusive, 1<<20)
	require.NoError(t, vol.Close())
	require.NoError(t, subvol.Destroy(dir, "vol"))
	require.NoError(t, subvol.Sync(dir))
	err = subvol.AwaitFreed(dir, info.ID)
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skipf("the kernel does not say when a subvolume is gone: %v", err)
	}
	require.NoError(t, err)
	err = subvol.DestroyQgroup(dir, info.ID)
	require.NoError(t, err)
	_, ok, err = subvol.QgroupOf(dir, info.ID)
	require.NoError(t, err)
	require.False(t, ok)
}

func TestWithoutQuotasThereIsNothingToLimit(t *testing.T) {
	dir := privileged(t)
	require.ErrorIs(t, subvol.Limit(dir, 256, 1<<20), unix.ENOTCONN)
	_, ok, err := subvol.QgroupOf(dir, 256)
	require.NoError(t, err)
	require.False(t, ok)
	require.NoError(t, subvol.DestroyQgroup(dir, 256))
}

func TestEveryFileTellsWhetherItIsOnABtrfs(t *testing.T) {
	on, err := subvol.OnBtrfs(open(t, "/proc"))
	require.NoError(t, err)
	require.False(t, on)
	on, err = subvol.OnBtrfs(open(t, fstest.Scratch(t, fstest.Btrfs)))
	require.NoError(t, err)
	require.True(t, on)
}

func TestCommitIsForBtrfs(t *testing.T) {
	dir := privileged(t)
	vol := create(t, dir, "a")
	for range 3 {
		require.NoError(t, os.Mkdir(vol.Name()+"/d", 0o700))
		require.NoError(t, subvol.Commit(vol))
		require.NoError(t, os.Remove(vol.Name()+"/d"))
	}
	require.NoError(t, subvol.Commit(dir))
	require.NoError(t, subvol.Commit(dir), "with nothing to commit")
	require.ErrorIs(t, subvol.Commit(open(t, fstest.Scratch(t, fstest.Ext4))), unix.ENOTTY)
}
