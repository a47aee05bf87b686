package snapshotter

import (
	"fmt"
	"os"
	"strings"
	"testing"

	ctdmount "github.com/containerd/containerd/v2/core/mount"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/mount"
)

func TestAnAUFSWithItsRemountsIsPutInContainerdsForm(t *testing.T) {
	list := []mount.Mount{
		{Type: "aufs", Source: "label", Options: []string{"dio"}, AUFS: &mount.AUFS{
			XINO: "/run/x", Branches: []mount.Branch{{Path: "/s/1", Writable: true}, {Path: "/s/2"}},
		}},
		{Type: "aufs", Source: "label", AUFS: &mount.AUFS{Append: true, Branches: []mount.Branch{{Path: "/s/3"}, {Path: "/s/4"}}}},
	}
	require.Equal(t, []ctdmount.Mount{
		{Type: "aufs", Source: "label", Options: []string{"rw", "br:/s/1=rw:/s/2=ro+wh", "dio", "xino=/run/x"}},
		{Type: "aufs", Source: "label", Options: []string{"remount", "rw", "append:/s/3=ro+wh", "append:/s/4=ro+wh"}},
	}, toContainerd(list))
	for i := range list {
		list[i].ReadOnly = true
		list[i].AUFS.Branches[0].Writable = false
	}
	require.Equal(t, []ctdmount.Mount{
		{Type: "aufs", Source: "label", Options: []string{"ro", "br:/s/1=ro+wh:/s/2=ro+wh", "dio", "xino=/run/x"}},
		{Type: "aufs", Source: "label", Options: []string{"remount", "ro", "append:/s/3=ro+wh", "append:/s/4=ro+wh"}},
	}, toContainerd(list))
}

// TestContainerdCarriesOutARemountInItsPlace tests what containerd does with
// the options of a remount. It uses a file system that every kernel has.
func TestContainerdCarriesOutARemountInItsPlace(t *testing.T) {
	if !fstest.CanMount(t) {
		t.Skip("needs to mount")
	}
	target := t.TempDir()
	tmpfs := func(options ...string) ctdmount.Mount {
		return ctdmount.Mount{Type: "tmpfs", Source: "label", Options: options}
	}
	require.NoError(t, ctdmount.All([]ctdmount.Mount{
		tmpfs("ro", "size=1m"), tmpfs("remount", "ro", "size=2m", "nr_inodes=100"), tmpfs("remount", "ro", "size=3m"),
	}, target))
	t.Cleanup(func() { require.NoError(t, mount.Unmount(target)) })
	var st unix.Statfs_t
	require.NoError(t, unix.Statfs(target, &st))
	require.EqualValues(t, 3<<20, int64(st.Blocks)*st.Bsize)
	require.EqualValues(t, 100, st.Files)
	require.ErrorIs(t, os.Mkdir(target+"/d", 0o700), unix.EROFS)
	table, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(t, err)
	require.Equal(t, 1, strings.Count(string(table), fmt.Sprintf(" %s ", target)), "remounts mount nothing")
}
