package layerdir

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAMountNamespaceLivesWhileAProcessIsInIt(t *testing.T) {
	own, err := os.Readlink("/proc/self/ns/mnt")
	require.NoError(t, err)
	for name, want := range map[string]bool{own: true, "mnt:[1]": false, "": false} {
		lives, err := NamespaceLives(name)
		require.NoError(t, err)
		require.Equal(t, want, lives, name)
	}
}
