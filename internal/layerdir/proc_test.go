package layerdir

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
)

func TestADriverNeedsProc(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("there is a /proc on Linux only")
	}
	require.NoError(t, needProc(procSelf))
	self := t.TempDir()
	require.ErrorIs(t, needProc(self), driver.ErrUnsupported)
	require.NoError(t, os.Mkdir(filepath.Join(self, "fd"), 0o700))
	require.ErrorContains(t, needProc(self), "/proc is not mounted here")
	require.NoError(t, os.WriteFile(filepath.Join(self, "mountinfo"), nil, 0o600))
	require.NoError(t, needProc(self))
}

func TestAnErrorOfLookingForProcIsNoMissingProc(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("there is a /proc on Linux only")
	}
	long := filepath.Join(t.TempDir(), strings.Repeat("a", 300)) // ENAMETOOLONG
	err := needProc(long)
	require.Error(t, err)
	require.NotErrorIs(t, err, driver.ErrUnsupported)
}
