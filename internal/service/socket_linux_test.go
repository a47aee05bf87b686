package service

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/fstest"
)

// Anybody who may read a directory can lock it, for as long as they like.
func TestALockOnTheDirectoryKeepsNobodyFromASocketInIt(t *testing.T) {
	dir := fstest.ShortDir(t)
	f, err := os.Open(dir)
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, unix.Flock(int(f.Fd()), unix.LOCK_EX))
	path := filepath.Join(dir, "s.sock")
	l, _ := listening(t, path)
	require.NoError(t, os.Remove(path))
	eventually(t, func() bool { return answers(path) }, "the socket answers again")
	require.NoError(t, l.Close())
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries, "the lock is gone with the need for it")
}

func TestALockThatIsNotOursAloneIsNotUsed(t *testing.T) {
	for name, put := range map[string]func(path string) error{
		"others can open it": func(path string) error {
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				return err
			}
			return os.Chmod(path, 0o644)
		},
		"a fifo": func(path string) error { return unix.Mkfifo(path, 0o600) },
		"a link": func(path string) error { return os.Symlink("elsewhere", path) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := fstest.ShortDir(t)
			lock := filepath.Join(dir, ".s.sock.lock")
			require.NoError(t, put(lock))
			_, err := Listen(filepath.Join(dir, "s.sock"), nil)
			require.ErrorContains(t, err, lock)
			_, err = os.Lstat(lock)
			require.NoError(t, err)
			require.NoFileExists(t, filepath.Join(dir, "elsewhere"))
		})
	}
}

func TestALockThatWasLeftBehindIsTaken(t *testing.T) {
	dir := fstest.ShortDir(t)
	require.NoError(t, os.WriteFile(filepath.Join(dir, ".s.sock.lock"), nil, 0o600))
	listening(t, filepath.Join(dir, "s.sock"))
}
