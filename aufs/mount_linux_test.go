package aufs

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/mount"
)

// withAUFS returns a mounter as on a kernel with aufs.
func withAUFS(tr *translator) *mounter {
	return &mounter{translator: tr, kernel: kernel{options: []string{"dio"}, xino: []xinoPlace{{"/run", tmpfsMagic}}}}
}

func TestWithAUFSAllBranchesAreMounted(t *testing.T) {
	b := newBranches(t, "a=1", "b=1", "c=1")
	l := b.layersOf()
	for name, c := range map[string]struct {
		sealed, readOnly bool
		perms            []string
	}{
		"a writable layer":            {false, false, []string{"=rw", "=ro+wh", "=ro+wh"}},
		"a writable layer, read-only": {false, true, []string{"=ro+wh", "=ro+wh", "=ro+wh"}},
		"a sealed layer":              {true, false, []string{"=ro+wh", "=ro+wh", "=ro+wh"}},
	} {
		l.sealed = c.sealed
		m := withAUFS(b.translator(driver.Options{}))
		require.True(t, m.writable())
		list, err := m.mount(t.Context(), l, driver.MountOptions{ReadOnly: c.readOnly})
		require.NoError(t, err, name)
		require.Len(t, list, 1)
		require.Equal(t, l.label, list[0].Source)
		require.Equal(t, c.perms[0] != "=rw", list[0].ReadOnly, name)
		for i, branch := range list[0].AUFS.Branches {
			require.Equal(t, b.paths[i]+c.perms[i], branch.String(), name)
		}
		again, err := m.mount(t.Context(), l, driver.MountOptions{ReadOnly: c.readOnly})
		require.NoError(t, err)
		require.Equal(t, list, again, "the same layer gives the same mounts")
	}
	for _, s := range b.translator(driver.Options{}).stores() {
		ids, err := s.List()
		require.NoError(t, err)
		require.Empty(t, ids, "nothing is translated")
	}
}

func TestABranchWhosePathAUFSCannotTakeIsRefused(t *testing.T) {
	b := newBranches(t, "a=1")
	l := b.layersOf()
	l.branches = []string{"/a:b"}
	_, err := withAUFS(b.translator(driver.Options{})).mount(t.Context(), l, driver.MountOptions{})
	require.ErrorIs(t, err, driver.ErrUnsupported)
	require.ErrorContains(t, err, "':'")
}

func TestWithoutAUFSAWritableLayerIsRefusedWithAdvice(t *testing.T) {
	b := newBranches(t, "a=1", "b=1")
	m := &mounter{translator: b.translator(driver.Options{}), kernel: kernel{lacks: listed(fakeList(t, "nodev\tproc\n\text4\n"))}}
	require.False(t, m.writable())
	l := b.layersOf()
	l.sealed = false
	for _, opts := range []driver.MountOptions{{}, {ReadOnly: true}} {
		_, err := m.mount(t.Context(), l, opts)
		require.ErrorIs(t, err, driver.ErrUnsupported)
		require.ErrorContains(t, err, "no aufs")
		require.ErrorContains(t, err, "commit the layer")
	}
}

func fakeList(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "filesystems")
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

func TestTheKernelsListTellsWhetherItHasAUFS(t *testing.T) {
	for content, has := range map[string]bool{
		"nodev\tproc\nnodev\taufs\n\text4\n":     true,
		"nodev\tproc\nnodev\taufs":               true,
		"nodev\tproc\n\text4\n":                  false,
		"nodev\tunaufs\nnodev\taufs2\naufs\tx\n": false,
		"":                                       false,
	} {
		err := listed(fakeList(t, content))
		if has {
			require.NoError(t, err, content)
			continue
		}
		require.ErrorIs(t, err, driver.ErrUnsupported, content)
		require.ErrorContains(t, err, "this kernel has no aufs")
	}
	err := listed(filepath.Join(t.TempDir(), "missing"))
	require.ErrorIs(t, err, driver.ErrUnsupported)
	require.ErrorContains(t, err, "is not known")
}

// TestAKernelThatOnlyClaimsToHaveAUFSIsFoundOut: the probe mounts an aufs. On a
// kernel with aufs the probe has to succeed.
func TestAKernelThatOnlyClaimsToHaveAUFSIsFoundOut(t *testing.T) {
	filesystems, err := os.ReadFile(procFilesystems)
	require.NoError(t, err)
	dir := t.TempDir()
	k, err := probeKernel(t.Context(), fakeList(t, "nodev\taufs\n"), dir, mount.Mounter{})
	require.NoError(t, err)
	if slices.Contains(strings.Fields(string(filesystems)), "aufs") && fstest.CanMount(t) {
		require.NoError(t, k.lacks)
		return
	}
	require.ErrorIs(t, k.lacks, driver.ErrUnsupported)
	require.ErrorContains(t, k.lacks, "mounting it failed")
}

func TestACancelledProbeSaysNothingOfTheKernel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := probeKernel(ctx, fakeList(t, "nodev\taufs\n"), t.TempDir(), mount.Mounter{})
	require.ErrorIs(t, err, context.Canceled)
}

func TestPlacesForXINOAreSeenAsTheyAre(t *testing.T) {
	dir := fstest.Scratch(t, fstest.Tmpfs)
	probe := filepath.Join(dir, "probe")
	require.NoError(t, os.Mkdir(probe, 0o700))
	places := xinoPlaces(probe)
	require.Equal(t, xinoPlace{dir, unix.TMPFS_MAGIC}, places[len(places)-1])
	require.NoError(t, os.Remove(probe))
	require.NoError(t, os.Remove(dir))
	places = xinoPlaces(probe)
	require.Zero(t, places[len(places)-1].fs, "where nothing can be made")
}
