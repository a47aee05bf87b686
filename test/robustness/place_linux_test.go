package robustness

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/test/robustness/cutdisk"
)

// A fileSystem is one that commands work on, with the backends that it is for.
type fileSystem struct {
	cutdisk.FileSystem
	backends []string
}

var fileSystems = func() (all []fileSystem) {
	for _, fs := range cutdisk.FileSystems() {
		backends := []string{"overlay2", "vfs"}
		if fs.Name == "btrfs" {
			backends = append(backends, "btrfs")
		}
		all = append(all, fileSystem{fs, backends})
	}
	return all
}()

// requirements skips a test where nothing can be mounted, and says why.
func requirements(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("not root: file systems on loop devices need it")
	}
	if !fstest.CanMount(t) {
		t.Skip("this process may not mount")
	}
	if _, err := exec.LookPath("go"); err != nil && os.Getenv("LAYERKEEP_SNAPCTL") == "" {
		t.Skip("go is not installed, and LAYERKEEP_SNAPCTL names no snapctl")
	}
	for _, program := range []string{"losetup", "mount"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed", program)
		}
	}
}

// make makes a file system in a new image.
func (fs fileSystem) make(t *testing.T, image string) {
	t.Helper()
	requireOrSkip(t, fs.Make(image))
}

// mountDevice mounts a block device.
func (fs fileSystem) mountDevice(t *testing.T, device, target string) {
	t.Helper()
	requireOrSkip(t, fs.MountDevice(device, target))
}

// requireOrSkip skips a test for what this machine lacks, and fails it for
// other errors.
func requireOrSkip(t *testing.T, err error) {
	t.Helper()
	if errors.Is(err, cutdisk.ErrUnsupported) {
		t.Skip(err)
	}
	require.NoError(t, err)
}

// unmountLater sees to what a test that fails leaves mounted.
func unmountLater(t *testing.T, target string) {
	t.Helper()
	t.Cleanup(func() {
		for _, p := range []string{filepath.Join(target, "mnt"), target} {
			_ = unix.Unmount(p, unix.MNT_DETACH) // nothing is mounted when the test has passed
		}
	})
}
