package copytree

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/internal/rootfd"
)

// The original may be a directory inside a directory that has a child of the
// same name. Hard links are found by their path in the original.
func TestADirectoryBelowAnotherIsCopiedWithItsHardLinks(t *testing.T) {
	base := t.TempDir()
	for _, dir := range []string{"src/v/v", "dst"} {
		require.NoError(t, os.MkdirAll(filepath.Join(base, dir), 0o755))
	}
	for path, content := range map[string]string{"src/v/x": "mine", "src/v/v/x": "another"} {
		require.NoError(t, os.WriteFile(filepath.Join(base, path), []byte(content), 0o644))
	}
	require.NoError(t, os.Link(filepath.Join(base, "src/v/x"), filepath.Join(base, "src/v/y")))
	above, err := rootfd.Open(filepath.Join(base, "src"), rootfd.Options{})
	require.NoError(t, err)
	defer above.Close()
	src, err := above.OpenDir("v")
	require.NoError(t, err)
	defer src.Close()
	dst, err := rootfd.Open(filepath.Join(base, "dst"), rootfd.Options{})
	require.NoError(t, err)
	defer dst.Close()
	require.NoError(t, Copy(t.Context(), src, dst, Options{}))
	for path, want := range map[string]string{"x": "mine", "y": "mine", "v/x": "another"} {
		got, err := os.ReadFile(filepath.Join(base, "dst", path))
		require.NoError(t, err)
		require.Equal(t, want, string(got), path)
	}
	x, err := os.Stat(filepath.Join(base, "dst/x"))
	require.NoError(t, err)
	y, err := os.Stat(filepath.Join(base, "dst/y"))
	require.NoError(t, err)
	require.True(t, os.SameFile(x, y))
}
