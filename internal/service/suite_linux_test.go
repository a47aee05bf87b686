package service

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/testsuite"
	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/internal/fstest"
)

// TestContainerdsSuitePassesThroughTheSocket runs it as an engine's proxy calls
// us.
func TestContainerdsSuitePassesThroughTheSocket(t *testing.T) {
	onMountingDrivers(t, func(t *testing.T, name, root string) {
		if testing.Short() {
			t.Skip("takes seconds; package snapshotter runs the suite without a socket")
		}
		useTempDir(t, filepath.Dir(root))
		// Engines get overlays as their own are: a directory of the parents is not
		// renamed but copied, which the suite knows of this one name.
		as := "layerkeep-" + name
		if name == "overlay2" {
			as = "overlayfs"
		}
		testsuite.SnapshotterSuite(t, as, func(_ context.Context, root string) (snapshots.Snapshotter, func() error, error) {
			s := start(t, root, name, nil)
			return s.engine, s.stop, nil
		})
	})
}

// onMountingDrivers is onEveryDriver for those with which engines can work
// here.
func onMountingDrivers(t *testing.T, test func(t *testing.T, name, root string)) {
	t.Helper()
	if !fstest.CanMount(t) {
		t.Skip("needs the right to mount")
	}
	onEveryDriver(t, func(t *testing.T, name, root string) {
		s := start(t, root, name, nil)
		mounts := s.store.Driver().Properties().MountsWritable
		require.NoError(t, s.stop())
		require.NoError(t, fstest.RemoveAll(root))
		if !mounts {
			t.Skip("it cannot mount here what is written to")
		}
		test(t, name, root)
	})
}

// useTempDir makes os.MkdirTemp use dir, where the suite makes its roots.
// t.Setenv would forbid its tests to run side by side.
func useTempDir(t *testing.T, dir string) {
	t.Helper()
	old, had := os.LookupEnv("TMPDIR")
	require.NoError(t, os.Setenv("TMPDIR", dir)) //nolint:usetesting // see above
	t.Cleanup(func() {
		if had {
			require.NoError(t, os.Setenv("TMPDIR", old)) //nolint:usetesting // see above
			return
		}
		require.NoError(t, os.Unsetenv("TMPDIR"))
	})
}
