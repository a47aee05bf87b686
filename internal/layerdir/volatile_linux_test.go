package layerdir

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
)

// boots makes a store believe that the machine is in the boot with the given
// ID.
func boots(t *testing.T, s *Store, name string) {
	t.Helper()
	s.bootFile = filepath.Join(t.TempDir(), "boot_id")
	require.NoError(t, os.WriteFile(s.bootFile, []byte(name+"\n"), 0o600))
}

func TestALayerWithoutSyncsIsTornOnceTheMachineHasStopped(t *testing.T) {
	s := lifeStore(t)
	boots(t, s, "one")
	for range 2 {
		require.NoError(t, s.MarkVolatile("open"))
	}
	_, err := s.Writable("open")
	require.NoError(t, err, "it is as good as any while the machine runs")
	r, err := s.Record("open")
	require.NoError(t, err)
	require.False(t, r.Torn)

	boots(t, s, "two")
	_, err = s.Writable("open")
	require.ErrorIs(t, err, driver.ErrTorn)
	require.ErrorContains(t, err, "the machine has stopped")
	nothing := func(*Meta) error { return nil }
	require.ErrorIs(t, s.Seal(t.Context(), "open", "tree", nothing), driver.ErrTorn)
	require.NoError(t, s.MarkVolatile("open"), "to be looked at, say")
	require.ErrorIs(t, s.Seal(t.Context(), "open", "tree", nothing), driver.ErrTorn, "that does not bring back what is lost")
	r, err = s.Record("open")
	require.NoError(t, err)
	require.True(t, r.Torn)
	require.NoError(t, s.Remove("open"))
}

func TestWhatIsSealedIsOnDiskThoughItWasWrittenWithoutSyncs(t *testing.T) {
	s := lifeStore(t)
	boots(t, s, "one")
	require.NoError(t, s.MarkVolatile("open"))
	require.NoError(t, s.Seal(t.Context(), "open", "tree", func(*Meta) error { return nil }))
	require.NoFileExists(t, s.Path("open", volatileName))
	boots(t, s, "two")
	r, err := s.Record("open")
	require.NoError(t, err)
	require.False(t, r.Torn)
	require.True(t, r.Sealed)
}

func TestALayerThatIsMountedWithSyncsAgainIsOnDisk(t *testing.T) {
	s := lifeStore(t)
	boots(t, s, "one")
	require.NoError(t, s.EndVolatile(t.Context(), "open"), "it was never marked")
	require.NoError(t, s.MarkVolatile("open"))
	require.NoError(t, s.EndVolatile(t.Context(), "open"))
	require.NoFileExists(t, s.Path("open", volatileName))
	require.NoError(t, s.MarkVolatile("open"))
	boots(t, s, "two")
	require.NoError(t, s.EndVolatile(t.Context(), "open"))
	_, err := s.Writable("open")
	require.ErrorIs(t, err, driver.ErrTorn, "that does not bring back what is lost")
}

func TestALayerIsNotMarkedWhereNothingTellsTheBoot(t *testing.T) {
	s := lifeStore(t)
	s.bootFile = filepath.Join(t.TempDir(), "none")
	require.ErrorIs(t, s.MarkVolatile("open"), os.ErrNotExist)
	require.NoFileExists(t, s.Path("open", volatileName))
	require.NoError(t, os.WriteFile(s.Path("open", volatileName), []byte("one"), 0o600))
	_, err := s.Writable("open")
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NoError(t, os.WriteFile(s.Path("open", volatileName), make([]byte, 1<<20), 0o600))
	_, err = s.Writable("open")
	require.Error(t, err)
}
