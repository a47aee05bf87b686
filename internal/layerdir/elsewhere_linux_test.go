package layerdir

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/moby/sys/mountinfo"
	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
)

// An engine in a container may have its store at the same path as this store,
// with layers of the same names.
func TestALayerOfAnotherStoreAtTheSamePathIsNotOurs(t *testing.T) {
	path, root := filepath.Join(t.TempDir(), "7"), t.TempDir()
	require.NoError(t, os.Mkdir(path, 0o700))
	overlay := &mountinfo.Info{FSType: "overlay", Source: Label(path), Mountpoint: "/", VFSOptions: "rw,upperdir=" + path + "/fs"}
	is, err := isMountOf(root, overlay, path)
	require.NoError(t, err)
	require.True(t, is)
	require.False(t, anotherStore(root, overlay, path), "a container that does not see the store")
	require.False(t, anotherStore("/", overlay, path), "the store itself")
	require.NoError(t, os.MkdirAll(filepath.Join(root, path), 0o700))
	require.True(t, anotherStore(root, overlay, path))
}

// The kernel escapes spaces in mount tables. The line of an aufs has the
// layer's path only in the source.
func TestALayerWhosePathHasSpacesIsFoundInATable(t *testing.T) {
	s := &Store{root: filepath.Join(t.TempDir(), "a b")}
	n := namespace{pid: os.Getpid(), table: []byte("31 21 0:31 / /mnt rw - aufs " + inMountTable.Replace(s.Path("7")) + " rw,si=c0ffee01\n")}
	writable, mounted, err := s.mountedIn(n, "7")
	require.NoError(t, err)
	require.True(t, mounted)
	require.Equal(t, []string{"/mnt"}, writable)
	_, mounted, err = s.mountedIn(n, "8")
	require.NoError(t, err)
	require.False(t, mounted)
}

func TestALayerThatAnotherMountNamespaceHasIsBusy(t *testing.T) {
	s := open(t)
	sealed(t, s, "a", "x")
	sealed(t, s, "b", "x")
	end := mountElsewhere(t, s.Path("a", "tree"), "ro")
	require.NoError(t, s.NotMountedElsewhere("b"))
	err := s.NotMountedElsewhere("b", "a")
	require.ErrorIs(t, err, driver.ErrBusy)
	require.ErrorContains(t, err, "layer a: ")
	require.ErrorContains(t, err, "(sh)")
	holders, seen, err := s.SilenceElsewhere("a")
	require.NoError(t, err)
	require.True(t, seen)
	require.Empty(t, holders, "it cannot write")
	end()
	require.NoError(t, s.NotMountedElsewhere("a", "b"))
}
