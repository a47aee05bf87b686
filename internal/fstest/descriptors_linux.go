package fstest

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// OpenDescriptors counts those of this process, and the one by which it counts.
func OpenDescriptors(tb testing.TB) int {
	tb.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	require.NoError(tb, err)
	return len(list)
}
