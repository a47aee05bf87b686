package bench

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestLongRoundsAreFewer(t *testing.T) {
	require.Equal(t, 5, fewestFor(59*time.Second, 5))
	require.Equal(t, 3, fewestFor(time.Minute, 5))
	require.Equal(t, 1, fewestFor(time.Minute, 1), "a case that is done once")
	require.Equal(t, 1, fewestFor(3*time.Minute, 5))
}
