package robustness

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/fstest"
)

// A fileSystem is one that commands work on.
type fileSystem struct {
	name string
	// mib is its size in MiB: the smallest that mkfs takes and that holds what the
	// commands make.
	mib  int
	mkfs []string
	// sector is what a cut never tears, in bytes. xfs needs 512. ext4 and btrfs need
	// more: the checksums of their superblocks are over 1024 and 4096 bytes, and a
	// file system whose superblock is torn is not mounted.
	sector   int
	backends []string
}

var fileSystems = []fileSystem{
	{"ext4", 64, []string{"-q", "-F", "-m", "0"}, 4096, []string{"overlay2", "vfs"}},
	{"xfs", 300, []string{"-q", "-m", "reflink=1"}, 512, []string{"overlay2", "vfs"}},
	{"btrfs", 256, []string{"-q"}, 4096, []string{"overlay2", "vfs", "btrfs"}},
}

// startWait is how long a process may take to be started.
const startWait = 10 * time.Second

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
	program, err := exec.LookPath("mkfs." + fs.name)
	if err != nil {
		t.Skipf("mkfs.%s is not installed", fs.name)
	}
	require.NoError(t, os.WriteFile(image, nil, 0o600))
	require.NoError(t, os.Truncate(image, int64(fs.mib)<<20))
	args := append(append([]string{}, fs.mkfs...), image)
	out, err := exec.Command(program, args...).CombinedOutput()
	require.NoError(t, err, "%s: %s", program, out)
}

// mountDevice mounts a block device. The test is skipped where the kernel has no such
// file system.
func (fs fileSystem) mountDevice(t *testing.T, device, target string) {
	t.Helper()
	err := unix.Mount(device, target, fs.name, 0, "")
	if errors.Is(err, unix.ENODEV) {
		t.Skipf("the kernel has no %s", fs.name)
	}
	require.NoError(t, err, "mount %s", fs.name)
}

// mountImage mounts an image through a loop device that detaches itself. All loop
// devices may be in use for a while. Another error is that of the file system.
func (fs fileSystem) mountImage(image, target string) error {
	for start := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		out, err := exec.Command("mount", "-t", fs.name, "-o", "loop", image, target).CombinedOutput()
		if err == nil {
			return nil
		}
		if !strings.Contains(string(out), "loop device") || time.Since(start) > fstest.Patience {
			said, _ := exec.Command("dmesg").Output() // which not everybody may read
			lines := strings.Split(strings.TrimSpace(string(said)), "\n")
			return fmt.Errorf("mount %s: %w: %s; the kernel said last:\n%s", image, err, strings.TrimSpace(string(out)),
				strings.Join(lines[max(0, len(lines)-15):], "\n"))
		}
	}
}

// unmountDevice unmounts what nothing may use any more. A process of another test may
// have a copy of the mount in a namespace of its own, which keeps the file system in
// use; it goes with the mount point, which is made anew. A process that is just being
// started by another subtest holds this one's descriptors for a moment.
func unmountDevice(target string) error {
	err := unix.Unmount(target, 0)
	for start := time.Now(); errors.Is(err, unix.EBUSY) && time.Since(start) < startWait; time.Sleep(time.Millisecond) {
		err = unix.Unmount(target, 0)
	}
	if err != nil {
		return &os.PathError{Op: "unmount", Path: target, Err: err}
	}
	return errors.Join(os.Remove(target), os.Mkdir(target, 0o700))
}

// unmountImage is unmountDevice for the image of a loop device, which it waits for and
// removes: another image of the same file system cannot be mounted before.
func unmountImage(image, target string) error {
	if err := unmountDevice(target); err != nil {
		return err
	}
	for start := time.Now(); ; time.Sleep(time.Millisecond) {
		held, err := isHeld(image)
		if err != nil {
			return err
		}
		if !held {
			return os.Remove(image)
		}
		if time.Since(start) > fstest.Patience {
			return fmt.Errorf("a loop device still holds %s", image)
		}
	}
}

// isHeld reports whether a loop device holds an image.
func isHeld(image string) (bool, error) {
	files, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(files, func(f string) bool {
		backing, err := os.ReadFile(f) // err: it has been detached
		return err == nil && strings.TrimSpace(string(backing)) == image
	}), nil
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

// combinations is the number of file systems with a backend.
func combinations() int {
	n := 0
	for _, fs := range fileSystems {
		n += len(fs.backends)
	}
	return n
}
