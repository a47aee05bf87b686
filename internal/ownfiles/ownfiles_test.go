package ownfiles_test

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/internal/ownfiles"
)

func TestOnlyARegularFileIsOpened(t *testing.T) {
	dir := fstest.ShortDir(t)
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, []byte("content"), 0o600))
	raw, err := ownfiles.Read(file, 7)
	require.NoError(t, err)
	require.Equal(t, "content", string(raw))
	_, err = ownfiles.Read(file, 6)
	require.ErrorIs(t, err, ownfiles.ErrTooLong)

	require.NoError(t, os.Mkdir(dir+"/a directory", 0o700))
	require.NoError(t, os.Symlink("file", dir+"/a symbolic link"))
	require.NoError(t, unix.Mkfifo(dir+"/a fifo", 0o600))
	l, err := net.Listen("unix", dir+"/a socket")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() }) // nobody cares how it ends
	names := []string{"a directory", "a symbolic link", "a fifo", "a socket"}
	if unix.Mknod(dir+"/a device", unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))) == nil { //nolint:gosec // small numbers
		names = append(names, "a device")
	}
	for _, name := range names {
		path := filepath.Join(dir, name)
		for _, flag := range []int{os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_RDWR | os.O_CREATE, os.O_WRONLY | os.O_CREATE | os.O_TRUNC} {
			_, err := ownfiles.OpenFile(path, flag, 0o600)
			require.ErrorIs(t, err, ownfiles.ErrUnsafe, name)
			require.ErrorContains(t, err, path+" is "+name+", and should be a regular file")
		}
		require.ErrorIs(t, ownfiles.Check(dir, ownfiles.Entry{Name: name}), ownfiles.ErrUnsafe)
		if name != "a directory" {
			require.ErrorIs(t, ownfiles.Check(dir, ownfiles.Entry{Name: name, Dir: true}), ownfiles.ErrUnsafe)
			alone := t.TempDir()
			require.NoError(t, os.Rename(path, filepath.Join(alone, name)))
			require.ErrorIs(t, ownfiles.CheckAll(alone), ownfiles.ErrUnsafe)
		}
	}
	require.NoError(t, ownfiles.CheckAll(dir))
	require.NoError(t, ownfiles.Check(dir, ownfiles.Entry{Name: "file"}, ownfiles.Entry{Name: "a directory", Dir: true}, ownfiles.Entry{Name: "missing"}))

	_, err = ownfiles.Open(filepath.Join(dir, "missing"))
	require.ErrorIs(t, err, fs.ErrNotExist)
	f, err := ownfiles.OpenFile(filepath.Join(dir, "made"), os.O_RDWR|os.O_CREATE, 0o600)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

func TestWhatBelongsToOthersIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dir")
	require.NoError(t, os.Mkdir(path, 0o700))
	require.NoError(t, ownfiles.CheckOwner(path))
	if err := os.Lchown(path, 4711, 0); err != nil {
		t.Skipf("nothing can be given away here: %v", err)
	}
	require.ErrorIs(t, ownfiles.CheckOwner(path), ownfiles.ErrUnsafe)
}

// Two processes that open a lock for the first time must both get it.
func TestSeveralMakeTheSameFile(t *testing.T) {
	for range 50 {
		path := filepath.Join(t.TempDir(), "lock")
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				f, err := ownfiles.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
				if assert.NoError(t, err) {
					assert.NoError(t, f.Close())
				}
			})
		}
		wg.Wait()
	}
	_, err := ownfiles.OpenFile(filepath.Join(t.TempDir(), "missing/lock"), os.O_RDWR|os.O_CREATE, 0o600)
	require.ErrorIs(t, err, fs.ErrNotExist)
	path := filepath.Join(t.TempDir(), "once")
	for i := range 2 {
		f, err := ownfiles.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if i == 0 {
			require.NoError(t, err)
			require.NoError(t, f.Close())
		} else {
			require.ErrorIs(t, err, fs.ErrExist)
		}
	}
}
