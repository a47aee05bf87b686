package sys_test

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/internal/sys"
)

func TestOnlyRegularFilesAndDirectoriesAreOpened(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), []byte("body"), 0o600))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "dir"), 0o700))
	require.NoError(t, os.Symlink("file", filepath.Join(dir, "link")))
	require.NoError(t, unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600))
	at, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	defer unix.Close(at)
	before := fstest.OpenDescriptors(t)
	for _, name := range []string{"file", "dir"} {
		fd, st, err := sys.OpenPlain(at, name)
		require.NoError(t, err, name)
		want, err := sys.Fstatat(at, name)
		require.NoError(t, err)
		require.Equal(t, want.Ino, st.Ino)
		opened, err := sys.Fstat(fd)
		require.NoError(t, err)
		require.Equal(t, want.Ino, opened.Ino)
		require.NoError(t, unix.Close(fd))
	}
	for _, name := range []string{"link", "fifo"} { // the fifo would block without a writer
		_, _, err := sys.OpenPlain(at, name)
		require.ErrorIs(t, err, sys.ErrNotPlain, name)
	}
	_, _, err = sys.OpenPlain(at, "missing")
	require.ErrorIs(t, err, unix.ENOENT)
	_, _, err = sys.OpenPlain(unix.AT_FDCWD, "/dev/null")
	require.ErrorIs(t, err, sys.ErrNotPlain)
	require.Equal(t, before, fstest.OpenDescriptors(t))
}

func TestLinksBeneathADirectoryAreFollowedAndNoOthers(t *testing.T) {
	top := t.TempDir()
	dir := filepath.Join(top, "dir")
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "sub"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(top, "outside"), nil, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
	require.NoError(t, unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600))
	for name, target := range map[string]string{
		"sub/up": "../file", "down": "sub/up", "out": "../outside", "absolute": filepath.Join(dir, "file"),
		"away": "..", "tofifo": "fifo", "nowhere": "missing", "loop": "loop",
	} {
		require.NoError(t, os.Symlink(target, filepath.Join(dir, name)))
	}
	at, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	defer unix.Close(at)
	before := fstest.OpenDescriptors(t)
	for path, want := range map[string]error{
		"file": nil, "sub/up": nil, "down": nil, "sub": nil,
		"out": unix.EXDEV, "absolute": unix.EXDEV, "away/outside": unix.EXDEV, "../outside": unix.EXDEV,
		"fifo": sys.ErrNotPlain, "tofifo": sys.ErrNotPlain, "nowhere": unix.ENOENT, "loop": unix.ELOOP,
	} {
		fd, _, err := sys.OpenPlainBeneath(at, path)
		if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
			t.Skipf("openat2 cannot be used here: %v", err)
		}
		require.ErrorIs(t, err, want, path)
		if err == nil {
			require.NoError(t, unix.Close(fd))
		}
	}
	require.Equal(t, before, fstest.OpenDescriptors(t))
}

// A container replaces a file by a device between any two calls. Opening a
// device can have effects on the machine.
func TestADeviceThatIsSwappedInIsNotOpened(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "a"), []byte("body"), 0o600))
	device := filepath.Join(dir, "b")
	if err := unix.Mknod(device, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))); err != nil {
		t.Skipf("no device nodes can be made here: %v", err)
	}
	watch, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	require.NoError(t, err)
	defer unix.Close(watch)
	_, err = unix.InotifyAddWatch(watch, device, unix.IN_OPEN)
	require.NoError(t, err)
	opened := func() bool {
		n, err := unix.Read(watch, make([]byte, 4096))
		require.True(t, err == nil || errors.Is(err, unix.EAGAIN), "%v", err)
		return n > 0
	}
	if fd, err := unix.Open(device, unix.O_PATH|unix.O_CLOEXEC, 0); err == nil {
		_ = unix.Close(fd)
		if opened() {
			t.Skip("this kernel tells of an O_PATH descriptor as of an opened file")
		}
	}
	f, err := os.Open(device)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	require.True(t, opened(), "that it was opened is noticed")

	at, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	defer unix.Close(at)
	stop := make(chan struct{})
	var swapper sync.WaitGroup
	swapper.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				_ = unix.Renameat2(at, "a", at, "b", unix.RENAME_EXCHANGE)
			}
		}
	})
	tries := 100_000
	if testing.Short() {
		tries = 10_000
	}
	files := 0
	for range tries {
		fd, _, err := sys.OpenPlain(at, "a")
		if err == nil {
			files++
			require.NoError(t, unix.Close(fd))
			continue
		}
		require.ErrorIs(t, err, sys.ErrNotPlain)
	}
	close(stop)
	swapper.Wait()
	require.False(t, opened(), "the device was opened")
	require.Positive(t, files)
	require.Less(t, files, tries, "the device was never in the place of the file")
}
