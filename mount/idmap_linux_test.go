package mount

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/fstest"
)

// testMap has two ranges, so that a constant shift is not enough.
var testMap = &IDMap{
	UIDs: []IDRange{{0, 200_000, 1000}, {1000, 300_000, 1000}},
	GIDs: []IDRange{{0, 400_000, 1000}, {1000, 500_000, 1000}},
}

// needMaps skips where a mount cannot have mapped IDs.
func needMaps(t *testing.T) {
	t.Helper()
	needMounts(t)
	if err := (Mounter{}).ProbeIDMap(t.Context(), t.TempDir(), true); err != nil {
		require.ErrorIs(t, err, ErrUnsupported)
		t.Skip(err)
	}
}

func owned(t *testing.T, path string, uid, gid int) {
	t.Helper()
	write(t, path, filepath.Base(path))
	require.NoError(t, unix.Lchown(path, uid, gid))
}

func owner(t *testing.T, path string) [2]uint32 {
	t.Helper()
	var st unix.Stat_t
	require.NoError(t, unix.Lstat(path, &st))
	return [2]uint32{st.Uid, st.Gid}
}

func TestABindWithAMapShowsTheHostsIDsAndStoresTheContainers(t *testing.T) {
	needMaps(t)
	src, target := t.TempDir(), t.TempDir()
	owned(t, src+"/root", 0, 0)
	owned(t, src+"/user", 1001, 1002)
	owned(t, src+"/stranger", 5000, 5000)
	mountFor(t, Mounter{}, Mount{Type: "bind", Source: src, IDMap: testMap}, target)
	require.Equal(t, [2]uint32{200_000, 400_000}, owner(t, target+"/root"))
	require.Equal(t, [2]uint32{300_001, 500_002}, owner(t, target+"/user"))
	require.Equal(t, [2]uint32{65534, 65534}, owner(t, target+"/stranger"))
	require.NoError(t, unix.Lchown(target+"/root", 300_007, 500_008))
	require.Equal(t, [2]uint32{1007, 1008}, owner(t, src+"/root"))
	require.ErrorIs(t, unix.Lchown(target+"/root", 7, 7), unix.EOVERFLOW, "what has no ID in the container")
}

func TestAReadOnlyBindWithAMapIsBoth(t *testing.T) {
	needMaps(t)
	src, target := t.TempDir(), t.TempDir()
	owned(t, src+"/root", 0, 0)
	mountFor(t, Mounter{}, Mount{Type: "bind", Source: src, IDMap: testMap, ReadOnly: true}, target)
	require.Equal(t, [2]uint32{200_000, 400_000}, owner(t, target+"/root"))
	require.ErrorIs(t, os.WriteFile(target+"/new", nil, 0o600), unix.EROFS)
}

func TestAnOverlayWithAMapShowsItsLowersMappedAndCopiesUpTheHostsIDs(t *testing.T) {
	needMaps(t)
	for name, mr := range map[string]Mounter{"by descriptor": {}, "by path": {noMappedLower: true}} {
		t.Run(name, func(t *testing.T) {
			base, target := t.TempDir(), t.TempDir()
			mkdirs(t, base+"/a/fs", base+"/b/fs", base+"/upper", base+"/work")
			owned(t, base+"/a/fs/root", 0, 0)
			owned(t, base+"/b/fs/user", 1001, 1002)
			owned(t, base+"/b/fs/stranger", 5000, 5000)
			mountFor(t, mr, Mount{
				Type: "overlay", Source: "overlay", IDMap: testMap, Options: []string{"index=off"},
				Overlay: &Overlay{Lower: []string{base + "/a/fs", base + "/b/fs"}, Upper: base + "/upper", Work: base + "/work"},
			}, target)
			require.Equal(t, [2]uint32{200_000, 400_000}, owner(t, target+"/root"))
			require.Equal(t, [2]uint32{300_001, 500_002}, owner(t, target+"/user"))
			write(t, target+"/user", "changed")
			require.Equal(t, [2]uint32{300_001, 500_002}, owner(t, base+"/upper/user"))
			require.ErrorIs(t, os.WriteFile(target+"/stranger", nil, 0o600), unix.EACCES, "what has no owner on the host")
		})
	}
	left, err := filepath.Glob(os.TempDir() + "/layerkeep-idmap-*")
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestAMapThatCannotBeMountedIsRefusedBeforeAnythingIs(t *testing.T) {
	needMaps(t)
	target := t.TempDir()
	bad := &IDMap{UIDs: []IDRange{{1, 1, 1}}, GIDs: []IDRange{{1, 1, 1}}}
	m := Mount{Type: "bind", Source: t.TempDir(), IDMap: bad}
	require.ErrorIs(t, All(t.Context(), []Mount{m}, target), ErrIDMap)
	m.IDMap = testMap
	require.ErrorIs(t, Mounter{First: WayMount2}.All(t.Context(), []Mount{m}, target), ErrUnsupported)
	require.ErrorIs(t, Mounter{First: WayMount2}.ProbeIDMap(t.Context(), t.TempDir(), false), ErrUnsupported)
	require.ErrorIs(t, Mount{Type: "aufs", IDMap: testMap}.check(), ErrUnsupported)
	m.Source = "/proc" // which knows no maps
	require.ErrorIs(t, All(t.Context(), []Mount{m}, target), ErrUnsupported)
}

func TestNoProcessAndNoDescriptorIsLeftOfAMap(t *testing.T) {
	needMaps(t)
	use := func(size uint32) string {
		m := *testMap
		m.UIDs = []IDRange{{0, 200_000, size}}
		ns, err := userNS(m)
		require.NoError(t, err)
		which, err := os.Readlink(procPath(ns))
		require.NoError(t, err)
		require.NoError(t, ns.Close())
		return which
	}
	for size := range uint32(keptNamespaces) {
		use(size + 1)
	}
	before := fstest.OpenDescriptors(t)
	first := use(1)
	for size := range uint32(keptNamespaces) {
		require.Equal(t, first, use(1), "it is not made again while it is used")
		use(100 + size)
		use(200 + size)
	}
	require.Equal(t, before, fstest.OpenDescriptors(t), "only so many are kept")
	_, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
	require.ErrorIs(t, err, unix.ECHILD)
}
