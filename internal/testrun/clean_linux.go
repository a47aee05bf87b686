package testrun

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// detachWait is how long the kernel may take to free a loop device after the
// last unmount.
const detachWait = 10 * time.Second

// Clean unmounts everything below dir and detaches the loop devices whose
// images are there, wherever they are mounted. When something stays mounted
// below dir it returns an error: who removes dir then removes what is mounted.
func Clean(dir string) error {
	dir = resolved(dir)
	loops, err := loopsOf(dir)
	if err != nil {
		return err
	}
	if err := unmountBelow(dir, loops); err != nil {
		return err
	}
	for _, loop := range loops {
		if err := detach(loop, dir); err != nil {
			return err
		}
	}
	// The images were on mounts, which a mount of an image kept busy.
	if err := unmountBelow(dir, nil); err != nil {
		return err
	}
	return noneBelow(dir)
}

// noneBelow returns an error when something is mounted below dir.
func noneBelow(dir string) error {
	points, err := mountsOf(dir, nil)
	if err != nil {
		return err
	}
	points = slices.DeleteFunc(points, func(p string) bool {
		return p == dir || strings.HasSuffix(p, "//deleted") // no path leads there
	})
	if len(points) > 0 {
		return fmt.Errorf("still mounted below %s: %s", dir, strings.Join(points, ", "))
	}
	return nil
}

// below reports whether a path is dir or below it.
func below(path, dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }

// mountsOf returns the mount points below dir and those of the loop devices,
// the last one first.
func mountsOf(dir string, loops []string) ([]string, error) {
	mounts, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) {
		return !below(m.Mountpoint, dir) && !slices.Contains(loops, m.Source), false
	})
	if err != nil {
		return nil, err
	}
	points := make([]string, 0, len(mounts))
	for _, m := range slices.Backward(mounts) {
		points = append(points, m.Mountpoint)
	}
	return points, nil
}

func unmountBelow(dir string, loops []string) error {
	points, err := mountsOf(dir, loops)
	if err != nil {
		return err
	}
	for _, p := range points {
		// A mount that something still uses goes when that does.
		if err := unix.Unmount(p, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			return &os.PathError{Op: "unmount", Path: p, Err: err}
		}
		if below(p, dir) && p != dir {
			// This also unmounts it in the namespaces that have a copy of the mount.
			_ = os.Remove(p) // not where there are files below a mount
		}
	}
	return nil
}

// loopsOf returns the loop devices whose images are below dir.
func loopsOf(dir string) ([]string, error) {
	files, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return nil, err
	}
	var loops []string
	for _, f := range files {
		device := filepath.Join("/dev", filepath.Base(filepath.Dir(filepath.Dir(f))))
		if holds(device, dir) {
			loops = append(loops, device)
		}
	}
	return loops, nil
}

// holds reports whether a loop device has an image below dir.
func holds(device, dir string) bool {
	backing, err := os.ReadFile(filepath.Join("/sys/block", filepath.Base(device), "loop/backing_file"))
	return err == nil && below(strings.TrimSuffix(strings.TrimSpace(string(backing)), " (deleted)"), dir)
}

// detach frees a loop device. Those that free themselves may have done so, and
// another process may have it by now.
func detach(device, dir string) error {
	for start := time.Now(); holds(device, dir); time.Sleep(10 * time.Millisecond) {
		if time.Since(start) > detachWait {
			return fmt.Errorf("detach %s: something still uses it", device)
		}
		f, err := os.Open(device)
		if err != nil {
			return err
		}
		if holds(device, dir) { // it stays the same while it is open
			err = unix.IoctlSetInt(int(f.Fd()), unix.LOOP_CLR_FD, 0)
		}
		_ = f.Close() // nothing was written
		if err != nil && !errors.Is(err, unix.ENXIO) && !errors.Is(err, unix.EBUSY) {
			return &os.PathError{Op: "detach", Path: device, Err: err}
		}
	}
	return nil
}
