package snapshotter

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
)

// engineRoot makes a data directory as another engine makes it.
func engineRoot(t *testing.T) string {
	t.Helper()
	root := memDir(t)
	for _, dir := range []string{
		"containers", "image/aufs/layerdb", "aufs/layers", "aufs/diff/base", "aufs/diff/top", "aufs/mnt/base", "aufs/mnt/top",
	} {
		require.NoError(t, os.MkdirAll(filepath.Join(root, dir), 0o711))
	}
	for name, content := range map[string]string{
		"aufs/layers/base": "", "aufs/layers/top": "base\n", "aufs/diff/base/f": "f", "aufs/diff/top/g": "g", "image/aufs/repositories.json": "{}",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(root, name), []byte(content), 0o600))
	}
	require.NoError(t, os.Chmod(root, 0o711)) //nolint:gosec // as engines do
	return root
}

func TestAnEnginesRootIsAStoreWhenItsDriverIsNamed(t *testing.T) {
	root := engineRoot(t)
	before := contents(t, root)
	for _, opts := range []Options{{Driver: "aufs"}, {}} { // the second time the header of the store names the driver
		s, err := Open(t.Context(), root, opts)
		if errors.Is(err, driver.ErrUnsupported) {
			t.Skipf("aufs does not work here: %v", err)
		}
		require.NoError(t, err)
		require.Equal(t, []string{"base", "top"}, namesOf(t, s))
		view, err := s.View(t.Context(), "view", "top")
		require.NoError(t, err)
		require.NotEmpty(t, view)
		require.NoError(t, s.Remove(t.Context(), "view"))
		require.NoError(t, s.Cleanup(t.Context()))
		require.NoError(t, s.Close())
	}
	require.Subset(t, contents(t, root), before, "nothing of the engine's was touched")
	info, err := os.Stat(root)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o711), info.Mode().Perm(), "others may have to pass")
}

func TestAnEnginesRootIsRefusedWithAdviceUnlessItsDriverIsNamed(t *testing.T) {
	root := engineRoot(t)
	bare := memDir(t) // only the layers, no other files of the engine
	require.NoError(t, os.Rename(filepath.Join(engineRoot(t), "aufs"), filepath.Join(bare, "aufs")))
	for name, c := range map[string]struct{ root, driver, advice string }{
		"no driver":               {root, "", "the driver aufs reads them"},
		"another driver":          {root, "vfs", "the driver aufs reads them"},
		"only layers, no driver":  {bare, "", "the driver aufs reads them"},
		"only layers, another":    {bare, "overlay2", "the driver aufs reads them"},
		"the directory of layers": {filepath.Join(root, "aufs"), "aufs", "the root to name is " + root},
	} {
		t.Run(name, func(t *testing.T) {
			before := contents(t, c.root)
			_, err := Open(t.Context(), c.root, Options{Driver: c.driver})
			require.ErrorIs(t, err, ErrForeign)
			require.ErrorIs(t, err, ErrNotStore)
			require.ErrorContains(t, err, c.advice)
			require.Equal(t, before, contents(t, c.root))
		})
	}
}

func TestADriversNameDoesNotMakeAStoreOfSomethingElse(t *testing.T) {
	root := memDir(t)
	require.NoError(t, os.WriteFile(filepath.Join(root, "mine"), nil, 0o600))
	require.NoError(t, os.MkdirAll(filepath.Join(root, "aufs", "layers"), 0o700)) // but no layer
	_, err := Open(t.Context(), root, Options{Driver: "aufs"})
	require.ErrorIs(t, err, ErrNotStore)
	require.NotErrorIs(t, err, ErrForeign)
}
