package disk

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/internal/subvol"
)

// makeSubvolumes makes subvolumes at two depths, one of them read-only, with
// files in them.
func makeSubvolumes(t *testing.T, dir *os.File) {
	t.Helper()
	require.NoError(t, subvol.Create(dir, "one"))
	require.NoError(t, os.MkdirAll(filepath.Join(dir.Name(), "d", "e"), 0o700))
	below, err := os.Open(filepath.Join(dir.Name(), "d", "e"))
	require.NoError(t, err)
	defer below.Close()
	require.NoError(t, subvol.Create(below, "two"))
	two, err := os.Open(filepath.Join(below.Name(), "two"))
	require.NoError(t, err)
	defer two.Close()
	require.NoError(t, os.WriteFile(filepath.Join(two.Name(), "f"), nil, 0o600))
	require.NoError(t, subvol.SetReadOnly(two, true))
}
