package whiteout

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func branch(t *testing.T) (string, int) {
	t.Helper()
	dir := t.TempDir()
	f, err := os.Open(dir)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return dir, int(f.Fd())
}

func TestAUFSMarksAreEmptyFilesOfOneMode(t *testing.T) {
	dir, fd := branch(t)
	old := unix.Umask(0o777)
	defer unix.Umask(old)
	require.NoError(t, AUFS.Whiteout(fd, "x"))
	require.NoError(t, AUFS.SetOpaque(fd))
	for _, name := range []string{".wh.x", ".wh..wh..opq"} {
		st, err := os.Lstat(filepath.Join(dir, name))
		require.NoError(t, err, name)
		require.Equal(t, os.FileMode(0o444), st.Mode(), name)
		require.Zero(t, st.Size(), name)
	}
}

func TestAnAUFSWhiteoutHasAnotherName(t *testing.T) {
	dir, fd := branch(t)
	require.Equal(t, ".wh.x", AUFS.MarkOf("x"))
	for _, e := range []Encoding{Plain, Overlay, OverlayUser} {
		require.Empty(t, e.MarkOf("x"), e)
	}
	gone, err := AUFS.IsRemoved(fd, "x")
	require.NoError(t, err)
	require.False(t, gone)
	require.NoError(t, AUFS.Whiteout(fd, "x"))
	require.ErrorIs(t, AUFS.Whiteout(fd, "x"), os.ErrExist)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "x"), nil, 0o600))
	gone, err = AUFS.IsRemoved(fd, "x")
	require.NoError(t, err)
	require.True(t, gone, "though there is a file of the name")
	gone, err = Overlay.IsRemoved(fd, "x")
	require.NoError(t, err)
	require.False(t, gone)
	require.NoError(t, AUFS.ClearWhiteout(fd, "x"))
	require.FileExists(t, filepath.Join(dir, "x"))
	require.NoFileExists(t, filepath.Join(dir, ".wh.x"))
	require.ErrorIs(t, AUFS.ClearWhiteout(fd, "x"), os.ErrNotExist)
}

func TestANameThatIsTooLongToBeRemovedIsThere(t *testing.T) {
	_, fd := branch(t)
	long := strings.Repeat("n", 252)
	require.Empty(t, AUFS.MarkOf(long))
	require.Len(t, AUFS.MarkOf(long[1:]), 255)
	gone, err := AUFS.IsRemoved(fd, long)
	require.NoError(t, err)
	require.False(t, gone)
}

func TestTheAUFSOpaqueMarkIsAFile(t *testing.T) {
	dir, fd := branch(t)
	opacity := func() Opacity {
		op, err := AUFS.Opacity(fd)
		require.NoError(t, err)
		return op
	}
	require.Equal(t, Merged, opacity())
	require.NoError(t, AUFS.ClearOpaque(fd), "without one")
	require.NoError(t, AUFS.SetOpaque(fd))
	require.NoError(t, AUFS.SetOpaque(fd), "twice")
	require.Equal(t, OpaqueDir, opacity())
	require.NoError(t, AUFS.ClearOpaque(fd))
	require.Equal(t, Merged, opacity())
	redirect, err := AUFS.Redirect(fd)
	require.NoError(t, err)
	require.Empty(t, redirect)
	require.NoError(t, os.Mkdir(filepath.Join(dir, ".wh..wh..opq"), 0o700))
	_, err = AUFS.Opacity(fd)
	require.ErrorIs(t, err, unix.EIO)
	require.NoError(t, os.Symlink("none", filepath.Join(dir, ".wh.x")))
	_, err = AUFS.IsRemoved(fd, "x")
	require.ErrorIs(t, err, unix.EIO, "a link is not followed")
}

func TestWhatSaysSomethingOfItsDirectoryIsKept(t *testing.T) {
	for name, want := range map[string]bool{
		".wh..wh..opq": true, AUFSBase: true, AUFSOrphan: true, AUFSPseudo: true,
		".wh.x": false, "x": false, ".wh.": false, ".wh..": false, ".wh": false,
	} {
		require.Equal(t, want, AUFS.Keeps(name), name)
		require.False(t, Overlay.Keeps(name), name)
	}
}

func TestAUFSHasNoAttributesOfItsOwn(t *testing.T) {
	for _, name := range []string{"trusted.overlay.opaque", "user.overlay.redirect", "trusted.x", "security.capability"} {
		disk, ok := AUFS.XattrToDisk(name)
		require.True(t, ok)
		require.Equal(t, name, disk)
	}
	_, ok := AUFS.XattrToDisk("security.selinux")
	require.False(t, ok)
	require.False(t, AUFS.IsWhiteoutNode(unix.S_IFCHR, 0))
}
