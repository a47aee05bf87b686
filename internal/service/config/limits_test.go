package config

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
)

func TestLimitsAreReadFromText(t *testing.T) {
	got, err := ParseLimits("entries=5,bytes=2TiB, ratio=100,depth=7,header=4K,memory=1GiB")
	require.NoError(t, err)
	require.Equal(t, driver.Limits{Entries: 5, Bytes: 2 << 40, Ratio: 100, PathDepth: 7, PAXBytes: 4096, Memory: 1 << 30}, got)
	got, err = ParseLimits("")
	require.NoError(t, err)
	require.Equal(t, driver.Limits{}, got, "the defaults")
	require.Equal(t, driver.Limits{Entries: 5, Memory: 9}, driver.Limits{Entries: 5}.Or(driver.Limits{Entries: 6, Memory: 9}))
	for text, says := range map[string]string{
		"entries": "entries, bytes, ratio, depth, header, memory", "colour=red": "colour=red", "bytes=1KB": "1KB", "entries=0": "at least 1",
		"entries=1,": "NAME=VALUE", "entries=1,entries=2": "twice", "depth=99999999999": "depth", "memory=-1": "memory", "ratio=1.5": "ratio",
	} {
		_, err := ParseLimits(text)
		require.ErrorContains(t, err, says, text)
	}
	var l Limits
	require.Error(t, l.Set("x"))
	require.NoError(t, l.Set("memory=1M"))
	require.EqualValues(t, 1<<20, l.Limits().Memory)
}
