package mount

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/moby/sys/mountinfo"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A call is one mount(2) of an aufs.
type call struct {
	flags uintptr
	data  string
}

// pretend is a kernel whose aufs is a tmpfs: mounts and unmounts are real, and
// the calls are kept. The call with the number failAt, from 1, fails.
func pretend(calls *[]call, failAt int) Mounter {
	return Mounter{kernel: &kernel{
		magic: unix.TMPFS_MAGIC,
		mount: func(source, target, fstype string, flags uintptr, data string) error {
			*calls = append(*calls, call{flags, data})
			if fstype != "aufs" || source != "label" {
				return unix.ENOTBLK
			}
			if len(*calls) == failAt {
				return unix.ENOSPC
			}
			return unix.Mount(source, target, "tmpfs", flags, "")
		},
	}}
}

// on returns an empty directory, and what counts the mounts on it.
func on(t *testing.T) (target string, mounted func() int) {
	t.Helper()
	needMounts(t)
	target = t.TempDir()
	t.Cleanup(func() {
		for Unmount(target) == nil { // what a failed test leaves
		}
	})
	return target, func() int {
		all, err := mountinfo.GetMounts(func(m *mountinfo.Info) (bool, bool) { return m.Mountpoint != target, false })
		require.NoError(t, err)
		return len(all)
	}
}

func TestAnAUFSIsOneMountHoweverManyCallsItTakes(t *testing.T) {
	target, mounted := on(t)
	var calls []call
	list := []Mount{aufsOf(2), appending("x", 2), appending("y", 1)}
	require.NoError(t, pretend(&calls, 0).All(t.Context(), list, target))
	require.Equal(t, []call{
		{0, "br:/b0=rw:/b1=ro+wh,dio,xino=/run/x"},
		{unix.MS_REMOUNT, "append:/x0=ro+wh,append:/x1=ro+wh"},
		{unix.MS_REMOUNT, "append:/y0=ro+wh"},
	}, calls)
	require.Equal(t, 1, mounted())
	require.NoError(t, Unmount(target))
	require.Zero(t, mounted())
}

func TestAReadOnlyAUFSStaysReadOnlyWhenBranchesAreAppended(t *testing.T) {
	target, _ := on(t)
	var calls []call
	more := appending("x", 1)
	more.ReadOnly = true
	require.NoError(t, pretend(&calls, 0).All(t.Context(), []Mount{readOnly(aufsOf(1)), more}, target))
	require.Equal(t, []call{
		{unix.MS_RDONLY, "br:/b0=ro+wh,dio,xino=/run/x"},
		{unix.MS_RDONLY | unix.MS_REMOUNT, "append:/x0=ro+wh"},
	}, calls)
	require.ErrorIs(t, os.WriteFile(target+"/f", nil, 0o600), unix.EROFS)
	require.NoError(t, Unmount(target))
}

func TestAHalfMadeAUFSIsUnmounted(t *testing.T) {
	for failAt := 1; failAt <= 3; failAt++ {
		target, mounted := on(t)
		var calls []call
		err := pretend(&calls, failAt).All(t.Context(), []Mount{aufsOf(2), appending("x", 2), appending("y", 1)}, target)
		require.ErrorIs(t, err, unix.ENOSPC)
		require.Len(t, calls, failAt)
		require.Zero(t, mounted())
	}
}

func TestNothingIsMountedWhenALaterPartIsRefused(t *testing.T) {
	target, mounted := on(t)
	var calls []call
	err := pretend(&calls, 0).All(t.Context(), []Mount{aufsOf(2), appending("x", 85)}, target)
	require.ErrorIs(t, err, ErrTooLong)
	require.Empty(t, calls)
	require.Zero(t, mounted())
}

func TestATemporaryAUFSIsUnmountedOnce(t *testing.T) {
	needMounts(t)
	var calls []call
	var at string
	list := []Mount{aufsOf(2), appending("x", 2), appending("y", 1)}
	require.NoError(t, pretend(&calls, 0).WithTemp(t.Context(), list, func(root string) error {
		at = root
		return os.WriteFile(root+"/f", nil, 0o600)
	}))
	require.NoDirExists(t, at)
	boom := errors.New("boom")
	require.ErrorIs(t, pretend(&calls, 0).WithTemp(t.Context(), list, func(root string) error { at = root; return boom }), boom)
	require.NoDirExists(t, at)
}

// TestARemountOfWhatIsNoAUFSIsRefused: somebody mounted over it in between.
func TestARemountOfWhatIsNoAUFSIsRefused(t *testing.T) {
	target, mounted := on(t)
	var calls []call
	mr := pretend(&calls, 0)
	mr.kernel.magic = aufsMagic
	require.ErrorIs(t, mr.All(t.Context(), []Mount{aufsOf(1), appending("x", 1)}, target), ErrUnsupported)
	require.Len(t, calls, 1, "the remount was not tried")
	require.Zero(t, mounted())
}

func TestWithoutTheModuleAnAUFSIsUnsupported(t *testing.T) {
	filesystems, err := os.ReadFile("/proc/filesystems")
	require.NoError(t, err)
	if slices.Contains(strings.Fields(string(filesystems)), "aufs") {
		t.Skip("this kernel has aufs")
	}
	target, mounted := on(t)
	m := aufsOf(1)
	m.AUFS.Branches[0].Path = t.TempDir()
	require.ErrorIs(t, All(t.Context(), []Mount{m}, target), ErrUnsupported)
	require.Zero(t, mounted())
	_, err = Detached(m)
	require.ErrorIs(t, err, ErrUnsupported)
}
