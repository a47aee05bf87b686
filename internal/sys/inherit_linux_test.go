package sys_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/internal/sys"
)

const casefold = 0x40000000 // FS_CASEFOLD_FL in linux/fs.h

// openNew makes a directory and opens it.
func openNew(t *testing.T, path string) *os.File {
	t.Helper()
	require.NoError(t, os.Mkdir(path, 0o755))
	dir, err := os.Open(path)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, dir.Close()) })
	return dir
}

func TestWhatAnOpenDirectoryHasInheritedIsTaken(t *testing.T) {
	above := t.TempDir()
	// posix_acl_xattr.h: user::rwx, user:1:rwx, group::rwx, mask::rwx, other::r-x
	list := "\x02\x00\x00\x00" + "\x01\x00\x07\x00\xff\xff\xff\xff" + "\x02\x00\x07\x00\x01\x00\x00\x00" +
		"\x04\x00\x07\x00\xff\xff\xff\xff" + "\x10\x00\x07\x00\xff\xff\xff\xff" + "\x20\x00\x05\x00\xff\xff\xff\xff"
	require.NoError(t, os.Chmod(above, 0o700|os.ModeSetgid))
	err := unix.Setxattr(above, "system.posix_acl_default", []byte(list), 0)
	if sys.Refused(err) || err == unix.EOPNOTSUPP { //nolint:errorlint // a bare errno
		t.Skipf("no access control lists here: %v", err)
	}
	require.NoError(t, err)
	dir := openNew(t, filepath.Join(above, "dir"))
	has := func() (mode uint32, lists int) {
		var st unix.Stat_t
		require.NoError(t, unix.Fstat(int(dir.Fd()), &st))
		for _, name := range []string{"system.posix_acl_default", "system.posix_acl_access"} {
			if _, err := unix.Fgetxattr(int(dir.Fd()), name, make([]byte, 100)); err == nil {
				lists++
			}
		}
		return st.Mode & 0o7777, lists
	}
	mode, lists := has()
	require.Equal(t, uint32(unix.S_ISGID|0o755), mode)
	require.Equal(t, 2, lists)

	for range 2 {
		require.NoError(t, sys.Disinherit(int(dir.Fd()), 0o750))
		mode, lists = has()
		require.Equal(t, uint32(0o750), mode)
		require.Zero(t, lists)
	}
	var before, after unix.Stat_t
	require.NoError(t, unix.Fstat(int(dir.Fd()), &before))
	require.NoError(t, sys.Disinherit(int(dir.Fd()), 0o750))
	require.NoError(t, unix.Fstat(int(dir.Fd()), &after))
	require.Equal(t, before.Ctim, after.Ctim, "nothing was to do, and nothing was written")
	require.Error(t, sys.Disinherit(-1, 0o700))
}

func TestADirectoryThatDoesNotTellNamesApartIsMadeToOrRefused(t *testing.T) {
	if !fstest.CanMount(t) {
		t.Skip("no permission to mount")
	}
	above := t.TempDir()
	if err := unix.Mount("none", above, "tmpfs", 0, "casefold=utf8-12.1.0"); err != nil {
		t.Skipf("this kernel has no tmpfs with the option casefold: %v", err)
	}
	t.Cleanup(func() { require.NoError(t, unix.Unmount(above, unix.MNT_DETACH)) })
	dir := openNew(t, filepath.Join(above, "dir"))
	if err := unix.IoctlSetPointerInt(int(dir.Fd()), unix.FS_IOC_SETFLAGS, casefold); err != nil {
		t.Skipf("no directory can be given the flag: %v", err)
	}
	require.NoError(t, sys.Disinherit(int(dir.Fd()), 0o700))
	for _, name := range []string{"name", "NAME"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir.Name(), name), nil, 0o600))
	}
	entries, err := os.ReadDir(dir.Name())
	require.NoError(t, err)
	require.Len(t, entries, 2)

	full := openNew(t, filepath.Join(above, "full"))
	require.NoError(t, unix.IoctlSetPointerInt(int(full.Fd()), unix.FS_IOC_SETFLAGS, casefold))
	require.NoError(t, os.WriteFile(filepath.Join(full.Name(), "name"), nil, 0o600))
	require.ErrorContains(t, sys.Disinherit(int(full.Fd()), 0o700), "whatever their case")
}
