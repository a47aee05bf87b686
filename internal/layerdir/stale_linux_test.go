package layerdir

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// A record is first written to a temporary file. If the process is killed
// before it renames the file, the file stays.
func TestCleanupRemovesWhatAKilledProcessWasWritingInALayer(t *testing.T) {
	s := open(t)
	sealed(t, s, "a", "body")
	sealed(t, s, "broken", "body")
	require.NoError(t, os.WriteFile(s.Path("a", ".tmp-1"), []byte("half a record"), 0o600))
	require.NoError(t, os.WriteFile(s.Path("a", "tree/.tmp-1"), []byte("the container's"), 0o600))

	require.NoError(t, s.Cleanup(t.Context()))
	require.NoFileExists(t, s.Path("a", ".tmp-1"))
	require.FileExists(t, s.Path("a", "tree/.tmp-1"), "what is in the layer's tree is not ours")
	require.False(t, s.Leftovers())
	_, err := s.Load("a")
	require.NoError(t, err)
}
