package copytree

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/rmtree"
	"github.com/layerkeep/layerkeep/internal/rootfd"
)

// A process in a container can make a tree of any depth. Copying it needs a
// fixed number of descriptors, and finds hard links in it again.
func TestADeepTreeIsCopiedWithFewDescriptors(t *testing.T) {
	const depth = 3000
	base := t.TempDir()
	t.Cleanup(func() { require.NoError(t, rmtree.Remove(base)) })
	src, dst := filepath.Join(base, "src"), filepath.Join(base, "dst")
	require.NoError(t, os.Mkdir(src, 0o755))
	require.NoError(t, os.Mkdir(dst, 0o755))
	at, err := unix.Open(src, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	for range depth {
		require.NoError(t, unix.Mkdirat(at, "d", 0o755))
		next, err := unix.Openat(at, "d", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		require.NoError(t, err)
		require.NoError(t, unix.Close(at))
		at = next
	}
	require.NoError(t, unix.Mkdirat(at, "x", 0o755))
	fd, err := unix.Openat(at, "x/a", unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
	require.NoError(t, err)
	require.NoError(t, unix.Close(fd))
	require.NoError(t, unix.Linkat(at, "x/a", at, "y", 0))
	require.NoError(t, unix.Close(at))

	open := func(path string) *rootfd.Dir {
		d, err := rootfd.Open(path, rootfd.Options{})
		require.NoError(t, err)
		t.Cleanup(func() { _ = d.Close() })
		return d
	}
	descriptors := func() int {
		names, err := os.ReadDir("/proc/self/fd")
		require.NoError(t, err)
		return len(names)
	}
	before, made, most := descriptors(), 0, 0
	err = Copy(t.Context(), open(src), open(dst), Options{Made: func([]byte, uint64) {
		if made++; made%100 == 0 {
			most = max(most, descriptors())
		}
	}})
	require.NoError(t, err)
	require.Equal(t, depth+2, made)
	require.Less(t, most-before, 200, "descriptors")
	bottom, err := open(dst).OpenDirAt(strings.TrimSuffix(strings.Repeat("d/", depth), "/"))
	require.NoError(t, err)
	defer bottom.Close()
	a, err := bottom.LookupAt("x/a")
	require.NoError(t, err)
	b, err := bottom.Lookup("y")
	require.NoError(t, err)
	require.Equal(t, a.Ino, b.Ino)
}
