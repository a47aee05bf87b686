package fstest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/testrun"
)

// Scratch mounts a new, empty file system and returns a directory on it, root
// owned, 0700. It is unmounted when the test ends. The test is skipped, and
// told what is missing, where the file system cannot be made or mounted.
func Scratch(tb testing.TB, fs FS) string {
	tb.Helper()
	return ScratchSize(tb, fs, defaultMiB)
}

// ScratchSize is [Scratch] with a size in MiB, for tests of a full disk. The
// smallest sizes are 300 for xfs, 110 for btrfs and 8 for ext4.
func ScratchSize(tb testing.TB, fs FS, sizeMiB int) string {
	tb.Helper()
	dir := mountDir(tb)
	mountTmpfs(tb, dir, fs, sizeMiB)
	if fs != Tmpfs {
		dir = mountImage(tb, dir, fs, sizeMiB)
	}
	scratch := filepath.Join(dir, "scratch")
	if err := os.Mkdir(scratch, 0o700); err != nil {
		tb.Fatal(err)
	}
	return scratch
}

// mountDir is TempDir for mounts and images of loop devices: where the process
// is killed, a later test run finds and removes what is below.
func mountDir(tb testing.TB) string {
	tb.Helper()
	if os.Getenv(testrun.RunEnv) != "" {
		return tb.TempDir() // in the directory of the run
	}
	dir, release, err := testrun.Local()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := release(); err != nil {
			tb.Error(err)
		}
	})
	return dir
}

// mountTmpfs mounts a tmpfs, for itself or to hold the image of fs.
func mountTmpfs(tb testing.TB, dir string, fs FS, sizeMiB int) {
	tb.Helper()
	if fs != Tmpfs {
		sizeMiB += 16
	}
	err := unix.Mount("layerkeep-test", dir, "tmpfs", 0, fmt.Sprintf("size=%dm,mode=0700", sizeMiB))
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		tb.Skipf("mounting a tmpfs is not permitted here (%v): needs root or a user namespace", err)
	}
	if err != nil {
		tb.Fatalf("mount tmpfs: %v", err)
	}
	tb.Cleanup(func() {
		patience := time.Duration(0)
		if fs != Tmpfs {
			// A loop device is gone a moment before it lets go of its image.
			patience = loopWait
		}
		unmountWithin(tb, dir, patience)
	})
}

// mountImage makes a file system in a sparse file in dir and mounts it.
func mountImage(tb testing.TB, dir string, fs FS, sizeMiB int) string {
	tb.Helper()
	image, target := filepath.Join(dir, "image"), filepath.Join(dir, "mnt")
	if err := os.Mkdir(target, 0o700); err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		tb.Fatal(err)
	}
	if err := os.Truncate(image, int64(sizeMiB)<<20); err != nil {
		tb.Fatal(err)
	}
	kind := fs.kind()
	args := map[FS][]string{
		// With a journal: without one, a new inode never takes the number of a
		// recently deleted one, and looking for another is slow.
		Ext4: {"-q", "-F", "-m", "0"},
		XFS:  {"-q", "-m", "reflink=1"},

		Ext4SmallInodes: {"-q", "-F", "-m", "0", "-I", "128"},
		XFSNoBigtime:    {"-q", "-m", "reflink=1,bigtime=0"},
		Btrfs:           {"-q", "-m", "single"},
	}[fs]
	if fs == Btrfs && sizeMiB <= 256 {
		// Data and metadata share the little room there is: once data has taken
		// all of it, it takes the kernel half a minute to give any back.
		args = append(args, "--mixed", "-d", "single")
	}
	mkfs, err := exec.LookPath("mkfs." + string(kind))
	if err != nil {
		tb.Skipf("mkfs.%s is not installed", kind)
	}
	if _, err := exec.LookPath("mount"); err != nil {
		tb.Skipf("no %s can be mounted: the program mount is not installed", fs)
	}
	if out, err := exec.Command(mkfs, append(args, image)...).CombinedOutput(); err != nil {
		if strings.Contains(string(out), "ermission denied") { // mkfs.btrfs looks where the image may be mounted
			tb.Skipf("making a %s is not permitted here: %s", fs, strings.TrimSpace(string(out)))
		}
		tb.Fatalf("mkfs.%s: %v: %s", fs, err, out)
	}
	options := "loop"
	if kind == Ext4 {
		options += ",acl,user_xattr"
	}
	mountLoop(tb, kind, image, target, options)
	tb.Cleanup(func() {
		unmount(tb, target)
		// Another process, of another test run, may have a copy of the mount in a
		// namespace of its own. It goes with the mount point.
		if err := os.Remove(target); err != nil {
			tb.Error(err)
		}
		awaitDetached(tb, image)
	})
	return target
}

// loopWait is how long mountLoop waits for other tests to free a loop device.
const loopWait = Patience

// mountLoop mounts an image through a loop device that detaches itself. There
// are few of them and other test processes use them too, so it tries for a
// while.
func mountLoop(tb testing.TB, fs FS, image, target, options string) {
	tb.Helper()
	for start := time.Now(); ; time.Sleep(200 * time.Millisecond) {
		out, err := exec.Command("mount", "-t", string(fs), "-o", options, image, target).CombinedOutput()
		if err == nil {
			return
		}
		missing := strings.Contains(string(out), "unknown filesystem")
		if missing {
			tb.Skipf("the kernel has no %s", fs)
		}
		if os.Getuid() != 0 || strings.Contains(string(out), "ermission denied") {
			tb.Skipf("mounting a loop device is not permitted here: %s", strings.TrimSpace(string(out)))
		}
		// mount(8) does not always say so: root of a user namespace may not.
		if control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0); err != nil {
			tb.Skipf("no loop device can be had here: %v", err)
		} else {
			_ = control.Close() // it was only to be opened
		}
		if time.Since(start) > loopWait {
			tb.Skipf("no loop device could be had in %v: %s", loopWait, strings.TrimSpace(string(out)))
		}
	}
}

// awaitDetached waits until no loop device holds the image. The kernel detaches
// a device some time after the unmount. It tells nobody, so this asks.
func awaitDetached(tb testing.TB, image string) {
	tb.Helper()
	for start := time.Now(); time.Since(start) < loopWait; time.Sleep(5 * time.Millisecond) {
		held, err := loopHolds(image)
		if err != nil {
			tb.Errorf("look for the loop device of %s: %v", image, err)
			return
		}
		if !held {
			return
		}
	}
	tb.Errorf("a loop device still holds %s after %v", image, loopWait)
}

func loopHolds(image string) (bool, error) {
	files, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return false, err
	}
	for _, f := range files {
		backing, err := os.ReadFile(f)
		if err == nil && strings.TrimSpace(string(backing)) == image {
			return true, nil
		}
	}
	return false, nil
}

// unmount unmounts a scratch file system, and complains when something still
// uses it: that is a leak of the code under test.
func unmount(tb testing.TB, target string) {
	tb.Helper()
	unmountWithin(tb, target, 0)
}

func unmountWithin(tb testing.TB, target string, patience time.Duration) {
	tb.Helper()
	start := time.Now()
	err := unix.Unmount(target, 0)
	for errors.Is(err, unix.EBUSY) && time.Since(start) < patience {
		time.Sleep(time.Millisecond)
		err = unix.Unmount(target, 0)
	}
	if err == nil {
		return
	}
	tb.Errorf("unmount %s: %v (a descriptor or mount was left behind)", target, err)
	if err := unix.Unmount(target, unix.MNT_DETACH); err != nil {
		tb.Errorf("detach %s: %v", target, err)
	}
}
