package fstest

import (
	"os"
	"testing"

	"github.com/moby/sys/mountinfo"
	"github.com/stretchr/testify/require"
)

// MountsBelow lists the mount points of this mount namespace below a directory,
// which is not one of them.
func MountsBelow(tb testing.TB, dir string) (targets []string) {
	tb.Helper()
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(dir))
	require.NoError(tb, err)
	for _, m := range mounts {
		if m.Mountpoint != dir {
			targets = append(targets, m.Mountpoint)
		}
	}
	return targets
}

// RequireNothingIn wants a directory to be empty, and nothing to be mounted
// below it.
func RequireNothingIn(tb testing.TB, dir string) {
	tb.Helper()
	require.Empty(tb, MountsBelow(tb, dir))
	entries, err := os.ReadDir(dir)
	require.NoError(tb, err)
	require.Empty(tb, entries)
}
