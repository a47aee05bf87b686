package check

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// From linux/ioprio.h, see ioprio_set(2).
const (
	ioprioWhoProcess = 1
	ioprioClassIdle  = 3 << 13
	lowestNice       = 19
)

// lower locks the goroutine to its thread and gives the thread the lowest
// priorities. It ignores errors: disks without an I/O scheduler have no
// priorities, and a kernel may refuse.
func lower() {
	runtime.LockOSThread()
	_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), lowestNice)                                     // optional
	_, _, _ = unix.Syscall(unix.SYS_IOPRIO_SET, ioprioWhoProcess, uintptr(unix.Gettid()), ioprioClassIdle) // optional
}
