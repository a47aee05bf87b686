package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTheEnvironmentNamesTheLatestTime(t *testing.T) {
	for value, want := range map[string]time.Time{"": {}, "0": time.Unix(0, 0), "1000000005": time.Unix(1_000_000_005, 0)} {
		t.Setenv(epochEnv, value)
		latest, err := sourceDateEpoch()
		require.NoError(t, err)
		require.True(t, want.Equal(latest), value)
	}
	t.Setenv(epochEnv, "yesterday")
	_, err := sourceDateEpoch()
	require.ErrorContains(t, err, `"yesterday"`)
	require.Equal(t, exitInvalid, exitCode(err))
}
