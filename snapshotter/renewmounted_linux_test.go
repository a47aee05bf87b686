package snapshotter

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	ctdmount "github.com/containerd/containerd/v2/core/mount"
	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/mount"
)

// The directory of a replaced layer stays while something that uses the layer
// is mounted. The next opening or cleanup after that removes it.
func TestAnOldLayerGoesOnceNothingHasItMounted(t *testing.T) {
	if !fstest.CanMount(t) {
		t.Skip("needs to mount")
	}
	eachDriver(t, func(t *testing.T, dir string, newDriver func() openDriver) {
		for _, killed := range []bool{false, true} {
			for _, goes := range []string{"opening", "cleanup"} {
				root := freshDir(t, dir)
				options := Options{open: newDriver()}
				s := openAt(t, root, options)
				if !replaces(s.Driver()) || s.Driver().Name() == "fake" {
					t.Skip("its layers are no directories that another could take the place of")
				}
				if s.Driver().Name() == "aufs" {
					t.Skip("it replaces no layer that something mounted has, as the suite of the drivers tests")
				}
				target := mountViewOnBase(t, s)
				if killed {
					renewAndDie(t, s, "base")
				} else {
					require.NoError(t, renewBase(t.Context(), s))
				}
				require.NoError(t, s.Close())
				old := filepath.Join(root, s.Driver().Name(), ".old-*")
				for range 2 {
					s = openAt(t, root, options)
					require.NoError(t, s.Cleanup(t.Context()))
					require.NoError(t, s.Close())
					requireCount(t, 1, old, "it is mounted")
				}
				require.Equal(t, "base", bodyIn(t, target), "what is mounted is as it was")

				if goes == "cleanup" {
					s = openAt(t, root, options)
				}
				require.NoError(t, mount.Unmount(target))
				untilGone(t, old, func() {
					if goes == "opening" {
						s = openAt(t, root, options)
						require.NoError(t, s.Close()) // Close waits for deletions in the background
					} else {
						require.NoError(t, s.Cleanup(t.Context()))
					}
				})
				require.NoError(t, s.Close())
				s = openAt(t, root, options)
				if !s.OpenedInOrder() { // the last close may have come before all was deleted
					require.NoError(t, s.Close())
					s = openAt(t, root, options)
				}
				require.True(t, s.OpenedInOrder(), "nothing is left to look for")
				require.Equal(t, map[string]string{"base": "base"}, filesOf(t, diffOf(t, s, "base")))
				require.NoError(t, s.Close())
			}
		}
	})
}

// mountViewOnBase makes "base" and a view over it, "view", and mounts the view.
func mountViewOnBase(t *testing.T, s *Snapshotter) (target string) {
	t.Helper()
	commit(t, s, "base", "", layerTar("base"))
	mounts, err := s.View(t.Context(), "view", "base")
	require.NoError(t, err)
	target = t.TempDir()
	require.NoError(t, ctdmount.All(mounts, target))
	t.Cleanup(func() { _ = mount.Unmount(target) }) // for a test that has failed
	return target
}

// renewAndDie does what Renew does up to the moment when the new layer has
// replaced the old one.
func renewAndDie(t *testing.T, s *Snapshotter, key string) {
	t.Helper()
	beside, above, err := s.announceRenewal(key)
	require.NoError(t, err)
	layer := layerTar(key)
	_, _, err = s.unpackBeside(t.Context(), beside, above, strings.NewReader(layer), driver.ApplyOptions{DiffID: digest.FromString(layer)})
	require.NoError(t, err)
	require.NoError(t, s.driver.(driver.Replacer).Replace(t.Context(), driver.ID(beside.Spare), layerOf(beside)))
}

func requireCount(t *testing.T, want int, pattern string, because ...any) {
	t.Helper()
	names, err := filepath.Glob(pattern)
	require.NoError(t, err)
	require.Len(t, names, want, because...)
}

// untilGone calls remove until nothing matches the pattern. That may take
// several calls, because processes of other tests may have a copy of the mount
// in their own namespaces for a while.
func untilGone(t *testing.T, pattern string, remove func()) {
	t.Helper()
	for start := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		remove()
		names, err := filepath.Glob(pattern)
		require.NoError(t, err)
		if len(names) == 0 {
			return
		}
		require.Less(t, time.Since(start), fstest.Patience, "nothing has them mounted any more: %v", names)
	}
}

func bodyIn(t *testing.T, dir string) string {
	t.Helper()
	body, err := os.ReadFile(filepath.Join(dir, "base"))
	require.NoError(t, err)
	return string(body)
}
