package all

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLayersOfAnotherEngineAreFoundWhereABackendReadsThem(t *testing.T) {
	root := t.TempDir()
	require.Empty(t, Foreign(root))
	require.Empty(t, Foreign(filepath.Join(root, "missing")))
	for _, dir := range []string{"aufs/layers", "aufs/diff", "aufs/mnt"} {
		require.NoError(t, os.MkdirAll(filepath.Join(root, dir), 0o700))
	}
	require.Empty(t, Foreign(root), "a place for layers")
	require.NoError(t, os.WriteFile(filepath.Join(root, "aufs/layers/a"), nil, 0o600))
	require.Empty(t, Foreign(root), "a layer without its branch")
	require.NoError(t, os.Mkdir(filepath.Join(root, "aufs/diff/a"), 0o700))
	require.Equal(t, "aufs", Foreign(root))
	require.NoError(t, os.MkdirAll(filepath.Join(root, "aufs/.layerkeep/layers/a"), 0o700))
	require.Empty(t, Foreign(root), "a layer of our own")
}
