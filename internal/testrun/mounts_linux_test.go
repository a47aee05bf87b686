package testrun

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// bind mounts a directory with a file that must stay at a new directory, and
// returns the file.
func bind(t *testing.T, target string) (precious string) {
	t.Helper()
	source := t.TempDir()
	precious = filepath.Join(source, "precious")
	require.NoError(t, os.WriteFile(precious, nil, 0o600))
	require.NoError(t, os.MkdirAll(target, 0o700))
	if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil {
		t.Skip("nothing can be mounted here:", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(target, unix.MNT_DETACH) }) // of what a failed test has left
	return precious
}

func TestNothingIsRemovedThroughAMountBelowALink(t *testing.T) {
	outer, place, link := tempDir, t.TempDir(), filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(place, link))
	tempDir = link
	t.Cleanup(func() { tempDir = outer })
	place, err := filepath.EvalSymlinks(place)
	require.NoError(t, err)
	all := bases()
	at := slices.IndexFunc(all, func(base string) bool {
		real, err := filepath.EvalSymlinks(filepath.Dir(base))
		return err == nil && real == place
	})
	require.GreaterOrEqual(t, at, 0, all)

	r, err := startIn(all[at])
	require.NoError(t, err)
	t.Cleanup(func() { _ = r.End() }) // of a test that was skipped
	precious := bind(t, filepath.Join(r.Dir, "1", "bound"))
	require.NoError(t, r.End())
	require.NoDirExists(t, r.Dir)
	require.FileExists(t, precious)
}

func TestCleaningFailsWhileSomethingIsMounted(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	require.NoError(t, noneBelow(dir))
	target := filepath.Join(dir, "bound")
	precious := bind(t, target)
	require.ErrorContains(t, noneBelow(dir), target)
	require.NoError(t, noneBelow(target), "the directory itself")
	require.NoError(t, Clean(dir))
	require.NoDirExists(t, target)
	require.FileExists(t, precious)
}

func TestALoopDeviceThatIsFreedLateIsNotLeft(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	image := filepath.Join(dir, "image")
	require.NoError(t, os.WriteFile(image, make([]byte, 1<<20), 0o600))
	out, err := exec.Command("losetup", "--find", "--show", image).Output()
	if err != nil {
		t.Skip("no loop device can be had here:", err)
	}
	device := strings.TrimSpace(string(out))
	t.Cleanup(func() { require.NoError(t, detach(device, dir)) })
	require.NoError(t, os.Remove(image))

	freed := make(chan error, 1)
	go func() {
		time.Sleep(200 * time.Millisecond)
		freed <- detach(device, dir)
	}()
	left, err := (&watcher{temp: dir}).leftovers()
	require.NoError(t, err)
	require.Empty(t, left)
	require.NoError(t, <-freed)
}
