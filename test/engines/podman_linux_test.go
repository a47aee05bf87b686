package engines

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/fstest"
)

// podmanConf is what podman needs on a machine that lets it raise no limits and
// has no systemd.
const podmanConf = `[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
default_sysctls = []
[engine]
lock_type = "file"
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
`

// TestPodman runs podman on a snapshot that snapctl has mounted, through the
// service.
func TestPodman(t *testing.T) {
	requirements(t, "podman")
	version := versionOf(t, program(t, "podman"), "--version")
	img := testImage(t)
	for _, backend := range []string{"overlay2", "btrfs", "vfs"} {
		t.Run(backend, func(t *testing.T) {
			s := newService(t, backend)
			s.snapctl(t, "import", "--name", "image", img.archive)
			did(t, "podman", version, backend, "import")
			target := t.TempDir()
			t.Cleanup(func() { _ = unix.Unmount(target, unix.MNT_DETACH) }) // for a test that fails
			s.snapctl(t, "mount", "--rw", box, "image", target)
			fstest.RequireEqual(t, img.tree, fstest.FromPath(t, target), "what snapctl mounts")
			out := podman(t, "run", "--rm", "--network", "none", "--rootfs", target, "/bin/sh", "-c",
				"cat /etc/motd; mv /data/many /data/lots; rm /etc/issue; echo new > /data/new")
			require.Equal(t, "second\n", out)
			did(t, "podman", version, backend, "run")

			s.restart(t)
			s.snapctl(t, "umount", target)
			changes := s.snapctl(t, "changes", box)
			for _, line := range []string{"A /data/new", "D /etc/issue", "D /data/many", "A /data/lots"} {
				require.Contains(t, changes, line+"\n")
			}
			did(t, "podman", version, backend, "diff")
			did(t, "podman", version, backend, "restart of the service")
			s.snapctl(t, "commit", "boxed", box)
			did(t, "podman", version, backend, "commit")
			s.snapctl(t, "rm", "boxed")
			s.snapctl(t, "rmi", "image")
			s.snapctl(t, "gc")
			s.requireEmpty(t)
			did(t, "podman", version, backend, "remove and gc")
		})
	}
}

// podman runs a podman command that has to succeed, with directories of its
// own.
func podman(t testing.TB, args ...string) string {
	t.Helper()
	dir := fstest.ShortDir(t)
	out, err := podmanIn(t, dir, filepath.Join(dir, "root"), "vfs", args...)
	require.NoError(t, err)
	return out
}

// podmanIn runs a podman command with its images in root, and what it needs
// while it runs in dir, which has a short path: podman takes a --runroot of 50
// bytes.
func podmanIn(t testing.TB, dir, root, storage string, args ...string) (string, error) {
	t.Helper()
	conf := filepath.Join(dir, "containers.conf")
	require.NoError(t, os.WriteFile(conf, []byte(podmanConf), 0o600))
	own := []string{
		"--root", root, "--runroot", filepath.Join(dir, "run"), "--tmpdir", filepath.Join(dir, "tmp"), "--storage-driver", storage,
	}
	return tryEnv([]string{"CONTAINERS_CONF=" + conf, "PATH=" + os.Getenv("PATH") + ":/usr/sbin:/sbin"}, program(t, "podman"), append(own, args...)...)
}
