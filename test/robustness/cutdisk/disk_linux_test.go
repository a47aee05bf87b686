package cutdisk_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/internal/testrun"
	"github.com/layerkeep/layerkeep/test/robustness/cutdisk"
)

func TestMain(m *testing.M) {
	cutdisk.Main()
	os.Exit(testrun.Tests{M: m}.Run())
}

// start makes an ext4 on a disk and mounts it.
func start(t *testing.T, honesty cutdisk.Honesty) (d *cutdisk.Disk, memory, target string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("not root: loop devices and FUSE need it")
	}
	memory, target = fstest.ScratchSize(t, fstest.Tmpfs, 64), t.TempDir()
	image := filepath.Join(memory, "image")
	require.NoError(t, os.WriteFile(image, nil, 0o600))
	require.NoError(t, os.Truncate(image, 16<<20))
	out, err := exec.Command("mkfs.ext4", "-q", "-F", image).CombinedOutput()
	require.NoError(t, err, string(out))
	out, err = exec.Command("cp", "--sparse=always", image, image+".base").CombinedOutput()
	require.NoError(t, err, string(out))
	d, err = cutdisk.Start(memory, image, honesty)
	if errors.Is(err, cutdisk.ErrUnsupported) {
		t.Skip(err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	mount(t, d.Device, target)
	return d, memory, target
}

func mount(t *testing.T, device, target string) {
	t.Helper()
	require.NoError(t, unix.Mount(device, target, "ext4", 0, ""))
	t.Cleanup(func() { require.NoError(t, unix.Unmount(target, 0)) })
}

// A file is written and synced, then another is written. A cut that loses all
// it can keeps the first, and it loses the second.
func TestWhatWasSyncedIsThereAfterACut(t *testing.T) {
	d, memory, target := start(t, cutdisk.Honest)
	writeSynced(t, filepath.Join(target, "synced"))
	position, err := d.Position()
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(target, "late"), []byte("late"), 0o600))
	unix.Sync()

	after := mountAfter(t, d, memory, position)
	require.FileExists(t, filepath.Join(after, "synced"))
	require.NoFileExists(t, filepath.Join(after, "late"))
}

// On a disk that lies the same cut loses the synced file: the log has no flush.
func TestALyingDiskLosesWhatWasSynced(t *testing.T) {
	d, memory, target := start(t, cutdisk.Lying)
	writeSynced(t, filepath.Join(target, "synced"))
	position, err := d.Position()
	require.NoError(t, err)
	log, err := d.Log()
	require.NoError(t, err)
	require.NotEmpty(t, log.Records)
	for _, r := range log.Records {
		require.NotEqual(t, cutdisk.Flush, r.Kind)
	}
	require.NoFileExists(t, filepath.Join(mountAfter(t, d, memory, position), "synced"))
}

const dieEnv = "LAYERKEEP_TEST_START_A_DISK_AND_DIE"

// A process is killed that has a disk. Its device must not stay: nothing tells
// later whose it was.
func TestTheDeviceOfAKilledProcessGoes(t *testing.T) {
	if dir := os.Getenv(dieEnv); dir != "" {
		d, err := cutdisk.Start(dir, filepath.Join(dir, "image"), cutdisk.Honest)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, "device"), []byte(d.Device), 0o600))
		require.NoError(t, unix.Kill(os.Getpid(), unix.SIGKILL))
	}
	d, memory, _ := start(t, cutdisk.Honest) // or it is skipped
	require.NotEmpty(t, d.Device)
	dir := filepath.Join(memory, "second")
	require.NoError(t, os.Mkdir(dir, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "image"), make([]byte, 1<<20), 0o600))
	cmd := exec.Command(os.Args[0], "-test.run=^TestTheDeviceOfAKilledProcessGoes$")
	cmd.Env = append(os.Environ(), dieEnv+"="+dir)
	out, err := cmd.CombinedOutput()
	require.Error(t, err, string(out))
	t.Cleanup(func() { require.NoError(t, unix.Unmount(filepath.Join(dir, "disk"), unix.MNT_DETACH)) })
	device, err := os.ReadFile(filepath.Join(dir, "device"))
	require.NoError(t, err, string(out))
	// Another process may have taken the device by now; then it has another image.
	backing := filepath.Join("/sys/block", filepath.Base(string(device)), "loop/backing_file")
	require.Eventually(t, func() bool {
		image, err := os.ReadFile(backing)
		name := strings.TrimSpace(string(image))
		return err != nil || name != "/" && name != "/disk" && name != filepath.Join(dir, "disk")
	}, fstest.Patience, 10*time.Millisecond)
}

func writeSynced(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	require.NoError(t, err)
	_, err = f.WriteString("synced")
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	require.NoError(t, f.Close())
}

// mountAfter mounts the disk after a cut at a position that loses all it can.
func mountAfter(t *testing.T, d *cutdisk.Disk, memory string, position int64) string {
	t.Helper()
	log, err := d.Log()
	require.NoError(t, err)
	n, err := log.Index(position)
	require.NoError(t, err)
	state, err := cutdisk.ReadState(filepath.Join(memory, "image.base"))
	require.NoError(t, err)
	cut := filepath.Join(memory, "cut")
	require.NoError(t, state.WriteImage(log, cutdisk.Cut{At: n, Kept: make([]cutdisk.Kept, len(log.Tail(n)))}, cut))
	after := t.TempDir()
	out, err := exec.Command("mount", "-o", "loop", cut, after).CombinedOutput()
	require.NoError(t, err, string(out))
	t.Cleanup(func() { require.NoError(t, unix.Unmount(after, 0)) })
	return after
}
