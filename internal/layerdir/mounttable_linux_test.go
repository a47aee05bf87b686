package layerdir

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/sys/mountinfo"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/fstest"
)

func TestAMountLineOfAnyLengthIsRead(t *testing.T) {
	lower := strings.Repeat("/a/rather/long/lower/directory:", 5000)
	table := "21 1 0:20 / /one rw shared:1 - tmpfs none rw\n" +
		"22 1 0:21 / /two rw shared:2 - overlay label rw,lowerdir=" + lower + "/x,upperdir=/u/fs,workdir=/u/work\n" +
		"23 1 0:22 / /three rw shared:3 - tmpfs none rw\n"
	found, err := mountinfo.GetMountsFromReader(bytes.NewReader(shortenLines([]byte(table))), nil)
	require.NoError(t, err)
	require.Len(t, found, 3)
	require.Equal(t, "/two", found[1].Mountpoint)
	require.Equal(t, "label", found[1].Source)
	require.Contains(t, found[1].VFSOptions, ",upperdir=/u/fs,")
	require.Equal(t, "/three", found[2].Mountpoint)
}

func TestSourcesOfMountsAreListed(t *testing.T) {
	if !fstest.CanMount(t) {
		t.Skip("mounting is not permitted here")
	}
	dir, source := t.TempDir(), "layerkeep-"+filepath.Base(t.TempDir())
	require.NoError(t, unix.Mount(source, dir, "tmpfs", 0, "size=64k"))
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	sources, err := Sources("tmpfs")
	require.NoError(t, err)
	require.True(t, sources[source])
	sources, err = Sources("overlay")
	require.NoError(t, err)
	require.False(t, sources[source])
}
