package check

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// priorities returns the priorities of the thread: 20 - nice, as the kernel
// returns it, and the I/O class.
func priorities(t *testing.T) (nice, class int) {
	t.Helper()
	nice, err := unix.Getpriority(unix.PRIO_PROCESS, unix.Gettid())
	require.NoError(t, err)
	io, _, errno := unix.Syscall(unix.SYS_IOPRIO_GET, ioprioWhoProcess, uintptr(unix.Gettid()), 0)
	if errno != 0 {
		t.Skipf("the kernel has no priorities of I/O: %v", errno)
	}
	return nice, int(io) >> 13
}

func TestABackgroundCheckRunsAtLowPriorityAlone(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	nice, class := priorities(t)
	atLowPriority(func() {
		nice, class := priorities(t)
		require.Equal(t, 20-lowestNice, nice)
		require.Equal(t, ioprioClassIdle>>13, class)
	})
	again, classAgain := priorities(t)
	require.Equal(t, nice, again)
	require.Equal(t, class, classAgain)
}

func TestAPanicAtLowPriorityIsTheCallers(t *testing.T) {
	require.PanicsWithValue(t, "boom", func() { atLowPriority(func() { panic("boom") }) })
}
