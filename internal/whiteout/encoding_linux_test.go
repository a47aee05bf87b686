package whiteout

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/sys"
)

// scratch returns an open directory on a file system that supports trusted and
// user attributes and device nodes.
func scratch(t *testing.T) (string, int) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: mounts a tmpfs, makes devices and trusted attributes")
	}
	dir := t.TempDir()
	require.NoError(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0755"))
	t.Cleanup(func() { require.NoError(t, unix.Unmount(dir, 0)) })
	f, err := os.Open(dir)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return dir, int(f.Fd())
}

func TestWhiteoutsAreRecognizedInBothForms(t *testing.T) {
	dir, fd := scratch(t)
	require.NoError(t, Overlay.Whiteout(fd, "gone"))
	require.ErrorIs(t, Overlay.Whiteout(fd, "gone"), os.ErrExist)
	require.NoError(t, os.WriteFile(dir+"/empty", nil, 0o600))
	require.NoError(t, os.WriteFile(dir+"/marked", nil, 0o600))
	require.NoError(t, unix.Lsetxattr(dir+"/marked", "trusted.overlay.whiteout", []byte("y"), 0))
	for _, c := range []struct {
		name string
		dir  Opacity
		want bool
	}{
		{"gone", Merged, true},
		{"gone", HasXattrWhiteouts, true},
		{"empty", HasXattrWhiteouts, false},
		{"marked", Merged, false},
		{"marked", HasXattrWhiteouts, true},
	} {
		st, err := sys.Fstatat(fd, c.name)
		require.NoError(t, err)
		got, err := Overlay.IsWhiteout(fd, c.name, st.Mode, st.Rdev, st.Size, c.dir)
		require.NoError(t, err)
		require.Equal(t, c.want, got, "%s in a directory of opacity %d", c.name, c.dir)
		require.False(t, Plain.IsWhiteoutNode(st.Mode, st.Rdev))
	}
}

func TestOnlyYIsOpaque(t *testing.T) {
	_, fd := scratch(t)
	for _, e := range []Encoding{Overlay, OverlayUser} {
		for value, want := range map[string]Opacity{"y": OpaqueDir, "x": HasXattrWhiteouts, "n": Merged, "yes": Merged, "": Merged} {
			require.NoError(t, sys.Fsetxattr(fd, e.Xattr("opaque"), []byte(value)))
			got, err := e.Opacity(fd)
			require.NoError(t, err)
			require.Equal(t, want, got, "%s opaque=%q", e, value)
		}
		require.NoError(t, e.ClearOpaque(fd))
		require.NoError(t, e.ClearOpaque(fd), "twice")
		require.NoError(t, e.SetOpaque(fd))
		got, err := e.Opacity(fd)
		require.NoError(t, err)
		require.Equal(t, OpaqueDir, got)
		require.NoError(t, sys.Fsetxattr(fd, e.Xattr("redirect"), []byte("/a/b")))
		redirect, err := e.Redirect(fd)
		require.NoError(t, err)
		require.Equal(t, "/a/b", redirect)
	}
}

func TestPlainTreesHaveNoMarks(t *testing.T) {
	_, fd := scratch(t)
	require.Error(t, Plain.Whiteout(fd, "x"))
	require.Error(t, Plain.SetOpaque(fd))
	require.NoError(t, Plain.ClearOpaque(fd))
	got, err := Plain.Opacity(fd)
	require.NoError(t, err)
	require.Equal(t, Merged, got)
}
