package snapshotter

import (
	"context"
	"os"
	"testing"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/testsuite"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/driver/all"
	"github.com/layerkeep/layerkeep/driver/all/alltest"
)

// TestContainerdSuite runs containerd's own suite on every backend. It uses the
// file system of the temporary directory, and a tmpfs. For a backend that needs
// btrfs it runs once, on a btrfs.
func TestContainerdSuite(t *testing.T) {
	for _, name := range all.Names() {
		t.Run("default/"+name, func(t *testing.T) {
			alltest.SkipInShort(t, name)
			requireMount(t)
			containerdSuite(t, alltest.Place(t, t.TempDir(), name), name)
		})
		t.Run("tmpfs/"+name, func(t *testing.T) {
			if testing.Short() {
				t.Skip("not in short mode")
			}
			requireMount(t)
			dir := tmpfs(t)
			if err := alltest.Works(t, dir, name); err != nil {
				t.Skipf("runs on another file system: %v", err)
			}
			containerdSuite(t, dir, name)
		})
	}
}

func containerdSuite(t *testing.T, dir, name string) {
	t.Helper()
	requireWritableMounts(t, dir, name)
	useTempDir(t, dir)
	// For names such as "overlayfs" the suite skips the rename of a directory. This
	// name makes it run that test, which passes.
	testsuite.SnapshotterSuite(t, "layerkeep-"+name, func(ctx context.Context, root string) (snapshots.Snapshotter, func() error, error) {
		s, err := Open(ctx, root, Options{Driver: name})
		if err != nil {
			return nil, nil, err
		}
		return s, s.Close, nil
	})
}

// requireWritableMounts skips the test when a backend cannot mount writable
// layers, because the whole suite works on mounted snapshots.
func requireWritableMounts(t *testing.T, dir, name string) {
	t.Helper()
	root := freshDir(t, dir)
	d, _, err := all.Select(t.Context(), root, name, driver.Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, d.Close()) }()
	if d.Properties().MountsWritable {
		return
	}
	require.NoError(t, d.Create(t.Context(), "probe", nil, driver.CreateOptions{}))
	_, err = d.Mount(t.Context(), "probe", driver.MountOptions{})
	require.ErrorIs(t, err, driver.ErrUnsupported)
	t.Skipf("containerd's suite mounts what it writes to, which does not work here: %v", err)
}

// requireMount skips the test when mounting is not allowed.
func requireMount(t testing.TB) {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
		t.Skipf("needs the right to mount: mount(2): %v", err)
	}
	require.NoError(t, unix.Unmount(dir, 0))
}

// tmpfs mounts a tmpfs for the test.
func tmpfs(t *testing.T) string { return sizedTmpfs(t, "50%") }

func sizedTmpfs(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0700,size="+size))
	t.Cleanup(func() { require.NoError(t, unix.Unmount(dir, 0)) })
	return dir
}

// useTempDir makes os.MkdirTemp use dir, where the suite makes its roots.
// t.Setenv cannot be used, because it forbids subtests to run in parallel.
func useTempDir(t *testing.T, dir string) {
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
