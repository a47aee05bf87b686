package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/snapshotter"
)

func TestASizeIsANumberOfBytesOrOfPowersOf1024(t *testing.T) {
	for text, want := range map[string]int64{
		"1": 1, "4096": 4096, "10B": 10, "1K": 1 << 10, "512M": 512 << 20, "512m": 512 << 20, "2GiB": 2 << 30,
		"1T": 1 << 40, "1P": 1 << 50, "7E": 7 << 60, "9223372036854775807": 1<<63 - 1,
	} {
		var size sizeFlag
		require.NoError(t, size.Set(text), text)
		require.Equal(t, want, int64(size), text)
	}
	for _, text := range []string{
		"", "0", "-1", "M", "1.5G", "1 G", "1KB", "1GB", "1Gi", "1X", "8E", "9223372036854775808", "0x10", "1e3", "١",
	} {
		size := sizeFlag(7)
		require.Error(t, size.Set(text), text)
		require.Equal(t, sizeFlag(7), size, text)
	}
}

func TestASizeBecomesALabel(t *testing.T) {
	require.Nil(t, sizeFlag(0).limit(nil))
	require.Equal(t, map[string]string{snapshotter.LabelSize: "4096"}, sizeFlag(4096).limit(nil))
	labels := map[string]string{"a": "1"}
	require.Equal(t, map[string]string{"a": "1", snapshotter.LabelSize: "1"}, sizeFlag(1).limit(labels))
	require.Equal(t, int64(4096), limitOf(map[string]string{snapshotter.LabelSize: "4096"}))
	require.Zero(t, limitOf(nil))
}

func TestEveryAbilityIsSaidOnceEitherWay(t *testing.T) {
	require.Empty(t, abilityNames(driver.Properties{}))
	none := strings.Join(abilityLines(driver.Properties{}), " ")
	for _, a := range abilities(driver.Properties{}) {
		require.Contains(t, strings.Join(strings.Fields(none), " "), a.text)
	}
	require.NotContains(t, none, "can: ")
	lines := abilityLines(driver.Properties{Quota: true, MaxParents: 126, MaxName: 242})
	require.Equal(t, "can: size limits, up to 126 layers below another, file names of up to 242 bytes", lines[0])
	require.NotContains(t, strings.Join(lines[1:], " "), "size limits")
	for _, line := range lines {
		require.LessOrEqual(t, len(line), abilityWidth, line)
	}
	require.Equal(t, []string{"quota"}, abilityNames(driver.Properties{Quota: true}))
}
