package cutdisk

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A FileSystem is one that a disk can have, and that is mounted again after a
// cut.
type FileSystem struct {
	Name string
	// MiB is its size: the smallest that mkfs takes and that holds what the tests
	// make.
	MiB int
	// Mkfs are the options of mkfs.
	Mkfs []string
	// Sector is what a cut never tears, in bytes. xfs needs 512. ext4 and btrfs
	// need more: the checksums of their superblocks are over 1024 and 4096 bytes,
	// and a file system whose superblock is torn is not mounted.
	Sector int64
}

// The file systems of the tests.
func FileSystems() []FileSystem {
	return []FileSystem{
		{"ext4", 64, []string{"-q", "-F", "-m", "0"}, 4096},
		{"xfs", 300, []string{"-q", "-m", "reflink=1"}, 512},
		{"btrfs", 256, []string{"-q"}, 4096},
	}
}

const (
	// loopPatience is how long to wait for a free loop device, or for one to be
	// freed, on a machine where other tests use many.
	loopPatience = 2 * time.Minute
	// startPatience is how long a process may take to be started.
	startPatience = 10 * time.Second
)

// Make makes the file system in a new image. The error matches [ErrUnsupported]
// where mkfs is not installed.
func (fs FileSystem) Make(image string) error {
	program, err := exec.LookPath("mkfs." + fs.Name)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		return err
	}
	if err := os.Truncate(image, int64(fs.MiB)<<20); err != nil {
		return err
	}
	out, err := exec.Command(program, append(slices.Clone(fs.Mkfs), image)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", program, err, out)
	}
	return nil
}

// MountDevice mounts a block device. The error matches [ErrUnsupported] where
// the kernel has no such file system.
func (fs FileSystem) MountDevice(device, target string) error {
	err := unix.Mount(device, target, fs.Name, 0, "")
	if errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("%w: the kernel has no %s", ErrUnsupported, fs.Name)
	}
	if err != nil {
		return fmt.Errorf("mount %s: %w", fs.Name, &os.PathError{Op: "mount on", Path: target, Err: err})
	}
	return nil
}

// MountImage mounts an image through a loop device that detaches itself. All
// loop devices may be in use for a while. Another error is that of the file
// system, with what the kernel said last.
func (fs FileSystem) MountImage(image, target string) error {
	for start := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		out, err := exec.Command("mount", "-t", fs.Name, "-o", "loop", image, target).CombinedOutput()
		if err == nil {
			return nil
		}
		if !strings.Contains(string(out), "loop device") || time.Since(start) > loopPatience {
			said, _ := exec.Command("dmesg").Output() // which not everybody may read
			lines := strings.Split(strings.TrimSpace(string(said)), "\n")
			return fmt.Errorf("mount %s: %w: %s; the kernel said last:\n%s", image, err, strings.TrimSpace(string(out)),
				strings.Join(lines[max(0, len(lines)-15):], "\n"))
		}
	}
}

// Unmount unmounts what nothing may use any more. A process of another test may
// have a copy of the mount in a namespace of its own, which keeps the file
// system in use; it goes with the mount point, which is made anew. A process
// that is just being started by another test holds this one's descriptors for a
// moment.
func Unmount(target string) error {
	err := unix.Unmount(target, 0)
	for start := time.Now(); errors.Is(err, unix.EBUSY) && time.Since(start) < startPatience; time.Sleep(time.Millisecond) {
		err = unix.Unmount(target, 0)
	}
	if err != nil {
		return &os.PathError{Op: "unmount", Path: target, Err: err}
	}
	return errors.Join(os.Remove(target), os.Mkdir(target, 0o700))
}

// UnmountImage is [Unmount] for an image that MountImage has mounted. It waits
// for the loop device and removes the image: another image of the same file
// system cannot be mounted before.
func UnmountImage(image, target string) error {
	if err := Unmount(target); err != nil {
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
		if time.Since(start) > loopPatience {
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
