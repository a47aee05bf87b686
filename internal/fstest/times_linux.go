package fstest

import (
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TimesOf finds out what times the file system of dir holds, by setting some.
func TimesOf(tb testing.TB, dir string) Times {
	tb.Helper()
	require.NoError(tb, os.MkdirAll(dir, 0o700))
	p := filepath.Join(dir, "probe-times")
	require.NoError(tb, os.WriteFile(p, nil, 0o600))
	defer os.Remove(p)
	set := func(sec, nsec int64) unix.Timespec {
		ts := unix.Timespec{Sec: sec, Nsec: nsec}
		require.NoError(tb, unix.UtimesNanoAt(unix.AT_FDCWD, p, []unix.Timespec{ts, ts}, 0))
		var st unix.Stat_t
		require.NoError(tb, unix.Stat(p, &st))
		return st.Mtim
	}
	ts := Times{First: set(math.MinInt64, 0).Sec, Last: set(math.MaxInt64, 0).Sec, Unit: 1}
	for ts.Unit < time.Second && set(5, int64(ts.Unit)).Nsec == 0 {
		ts.Unit *= 10
	}
	return ts
}
