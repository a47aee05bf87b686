package fstest_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/fstest"
)

func TestBtrfsPlacesAreOnTheFileSystemButNotAtItsRoot(t *testing.T) {
	dir := fstest.Scratch(t, fstest.Btrfs)
	for name, place := range map[string]func(testing.TB, string) string{
		"directory": fstest.BindSubdirectory, "subvolume": fstest.BindSubvolume,
	} {
		t.Run(name, func(t *testing.T) {
			at := place(t, dir)
			var fs unix.Statfs_t
			require.NoError(t, unix.Statfs(at, &fs))
			require.EqualValues(t, unix.BTRFS_SUPER_MAGIC, fs.Type)
			require.NoError(t, os.WriteFile(filepath.Join(at, "f"), nil, 0o600))
		})
	}
}

func TestQuotasAreSwitchedOn(t *testing.T) {
	for name, quotas := range map[string]func(testing.TB, string) string{"simple": fstest.SimpleQuotas, "qgroups": fstest.Qgroups} {
		t.Run(name, func(t *testing.T) {
			require.DirExists(t, quotas(t, fstest.Scratch(t, fstest.Btrfs)))
			files, err := filepath.Glob("/sys/fs/btrfs/*/qgroups/enabled")
			require.NoError(t, err)
			require.NotEmpty(t, files)
		})
	}
}

func TestReadOnlyTreesAreRemoved(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "closed/below"), 0o700))
	require.NoError(t, os.Chmod(filepath.Join(dir, "closed"), 0))
	require.NoError(t, fstest.RemoveAll(dir))
	require.NoDirExists(t, dir)
}
