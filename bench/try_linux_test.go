package bench

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/bench/disk"
)

func TestARunMeasuresEachCaseForEachSubject(t *testing.T) {
	r, err := Run(t.Context(), Options{Scratch: t.TempDir(), FileSystems: []string{disk.Tmpfs}, Drivers: []string{"vfs"}, Suites: []string{"copy-up"}, Quick: true})
	require.NoError(t, err)
	require.True(t, r.Complete)
}
