//go:build amd64 || arm64

package fstest

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// fileCalls are the system calls that can be made to fail, by number. Those
// that read or write count only where they do so to a file or directory: the
// runtime makes others.
var fileCalls = map[uint32]string{
	unix.SYS_OPENAT: "openat", unix.SYS_OPENAT2: "openat2", unix.SYS_MKDIRAT: "mkdirat", unix.SYS_MKNODAT: "mknodat",
	unix.SYS_SYMLINKAT: "symlinkat", unix.SYS_LINKAT: "linkat", unix.SYS_UNLINKAT: "unlinkat", unix.SYS_READLINKAT: "readlinkat",
	unix.SYS_RENAMEAT: "renameat", unix.SYS_RENAMEAT2: "renameat2", statNumber(): "fstatat", unix.SYS_FSTAT: "fstat", unix.SYS_STATX: "statx",
	unix.SYS_FCHOWN: "fchown", unix.SYS_FCHOWNAT: "fchownat", unix.SYS_FCHMOD: "fchmod", unix.SYS_FCHMODAT: "fchmodat", unix.SYS_FCHMODAT2: "fchmodat2",
	unix.SYS_UTIMENSAT: "utimensat", unix.SYS_FTRUNCATE: "ftruncate", unix.SYS_FALLOCATE: "fallocate",
	unix.SYS_FSYNC: "fsync", unix.SYS_FDATASYNC: "fdatasync", unix.SYS_SYNCFS: "syncfs", unix.SYS_GETDENTS64: "getdents64",
	unix.SYS_SETXATTR: "setxattr", unix.SYS_LSETXATTR: "lsetxattr", unix.SYS_FSETXATTR: "fsetxattr",
	unix.SYS_GETXATTR: "getxattr", unix.SYS_LGETXATTR: "lgetxattr", unix.SYS_FGETXATTR: "fgetxattr",
	unix.SYS_LISTXATTR: "listxattr", unix.SYS_LLISTXATTR: "llistxattr", unix.SYS_FLISTXATTR: "flistxattr",
	unix.SYS_REMOVEXATTR: "removexattr", unix.SYS_LREMOVEXATTR: "lremovexattr", unix.SYS_FREMOVEXATTR: "fremovexattr",
	unix.SYS_LISTXATTRAT: "listxattrat", unix.SYS_GETXATTRAT: "getxattrat", unix.SYS_LSEEK: "lseek",
	unix.SYS_READ: "read", unix.SYS_WRITE: "write", unix.SYS_PREAD64: "pread64", unix.SYS_PWRITE64: "pwrite64",
	unix.SYS_COPY_FILE_RANGE: "copy_file_range", unix.SYS_IOCTL: "ioctl", unix.SYS_STATFS: "statfs", unix.SYS_FSTATFS: "fstatfs",
	unix.SYS_MOUNT: "mount", unix.SYS_UMOUNT2: "umount2", unix.SYS_FSOPEN: "fsopen", unix.SYS_FSCONFIG: "fsconfig", unix.SYS_FSMOUNT: "fsmount",
	unix.SYS_MOVE_MOUNT: "move_mount", unix.SYS_OPEN_TREE: "open_tree", unix.SYS_MOUNT_SETATTR: "mount_setattr",
}

// statNumber is the number of fstatat, which has two names.
func statNumber() uint32 {
	if runtime.GOARCH == "arm64" {
		return 79
	}
	return 262
}

// Calls is a thread on which system calls on files can be made to fail.
type Calls struct {
	listener int
	run      chan func()
	ended    chan any
	where    []string
	// goroutine begins what runtime.Stack says of the thread's goroutine:
	// "goroutine 7 ".
	goroutine string
}

// NewCalls starts the thread, which lives as long as the test. A filter of
// system calls asks this process about each that is made there; the test is
// skipped where it cannot be had.
func NewCalls(tb testing.TB) *Calls {
	tb.Helper()
	c := &Calls{run: make(chan func()), ended: make(chan any)}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with its filter
		own := make([]byte, 64)
		number := strings.Fields(string(own[:runtime.Stack(own, false)]))[1]
		c.goroutine = "goroutine " + number + " "
		fd, err := filterCalls()
		c.listener = fd
		if ready <- err; err != nil {
			return
		}
		for fn := range c.run {
			c.call(fn)
		}
	}()
	if err := <-ready; err != nil {
		tb.Skipf("no filter of system calls: %v", err)
	}
	tb.Cleanup(func() {
		close(c.run)
		if err := unix.Close(c.listener); err != nil {
			tb.Error(err)
		}
	})
	return c
}

// call calls fn and sends what it panicked with, if it did.
func (c *Calls) call(fn func()) {
	var ended any = "the test ended on the thread of Calls"
	defer func() {
		if panicked := recover(); panicked != nil {
			ended = panicked
		}
		_ = unix.Syncfs(-1) // tells callJudge to end
		c.ended <- ended
	}()
	fn()
	ended = nil
}

// Fail calls fn on the thread and lets the nth of the system calls on files
// that fn makes there fail with errno, counted from 1; none for 0. It returns
// how many there were and the name of the one that failed. What other
// goroutines do does not count.
func (c *Calls) Fail(tb testing.TB, n int, errno unix.Errno, fn func()) (made int, failed string) {
	tb.Helper()
	j := &callJudge{errno: errno, fails: func(number int, _ string) bool {
		if number == n {
			c.stack()
		}
		return number == n
	}}
	c.judge(tb, j, fn)
	return j.made, j.failed
}

// FailIn is Fail for the first system call of that name that is made while the
// function called in is at work, which is written as Where does it; failed is
// false if there was none. How many calls come before it may depend on what
// else the machine does.
func (c *Calls) FailIn(tb testing.TB, name, in string, errno unix.Errno, fn func()) (failed bool) {
	tb.Helper()
	j := &callJudge{errno: errno}
	j.fails = func(_ int, made string) bool {
		if j.failed != "" || made != name {
			return false
		}
		c.stack()
		return slices.Contains(c.where, in)
	}
	c.judge(tb, j, fn)
	return j.failed != ""
}

func (c *Calls) judge(tb testing.TB, j *callJudge, fn func()) {
	tb.Helper()
	c.where, j.listener = nil, c.listener
	c.run <- fn
	if err := j.run(); err != nil {
		tb.Fatal(err)
	}
	if panicked := <-c.ended; panicked != nil {
		panic(panicked)
	}
}

// Where returns the functions that were at work when the last system call
// failed, the innermost first, those of this module without its path:
// "tar.(*Delta).Merge".
func (c *Calls) Where() []string { return c.where }

const module = "github.com/layerkeep/layerkeep/"

// stack remembers where the thread is, which waits for the answer to a system
// call.
func (c *Calls) stack() {
	c.where = nil
	all := make([]byte, 4<<20)
	all = all[:runtime.Stack(all, true)]
	for one := range strings.SplitSeq(string(all), "\n\n") {
		if !strings.HasPrefix(one, c.goroutine) {
			continue
		}
		above, _, _ := strings.Cut(one, "fstest.(*Calls).call(")
		for line := range strings.SplitSeq(above, "\n") {
			name := strings.TrimPrefix(line, module)
			if end := strings.LastIndexByte(name, '('); end > 0 && !strings.HasPrefix(name, "\t") {
				c.where = append(c.where, name[:end])
			}
		}
	}
}

// filterCalls makes the kernel ask the listener about each of fileCalls that
// this thread makes (seccomp_unotify(2)).
func filterCalls() (listener int, err error) {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return -1, err
	}
	wakers, err := eventDescriptors()
	if err != nil {
		return -1, err
	}
	number := unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0} // seccomp_data.nr
	// The runtime wakes its poller by a write that it does not count as a system
	// call: this process cannot stop for a collection of garbage before it has been
	// answered, and where it has begun to stop nobody is there to answer.
	filter := []unix.SockFilter{
		number,
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: uint8(1 + 2*len(wakers)), K: unix.SYS_WRITE},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 16}, // seccomp_data.args[0], the lower half
	}
	for _, fd := range wakers {
		filter = append(filter,
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: fd},
			unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW})
	}
	filter = append(filter, number)
	left := len(fileCalls)
	for number := range fileCalls {
		filter = append(filter, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: uint8(left), K: number})
		left--
	}
	filter = append(filter,
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_USER_NOTIF})
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

// eventDescriptors are those of eventfd(2), of which the runtime has one.
func eventDescriptors() (fds []uint32, err error) {
	r, w, err := os.Pipe() // there is a poller from now on
	if err != nil {
		return nil, err
	}
	defer r.Close()
	defer w.Close()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		fd, err := strconv.ParseUint(e.Name(), 10, 32)
		if err != nil {
			return nil, err
		}
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && to == "anon_inode:[eventfd]" {
			fds = append(fds, uint32(fd))
		}
	}
	return fds, nil
}

// A callJudge answers the kernel.
type callJudge struct {
	listener int
	errno    unix.Errno
	// fails says which calls on files fail, by number and name.
	fails  func(number int, name string) bool
	made   int
	failed string // the name of the last one that failed
}

// A notification is struct seccomp_notif, an answer struct seccomp_notif_resp
// (linux/seccomp.h).
type notification struct {
	id         uint64
	pid, flags uint32
	nr, arch   uint32
	ip         uint64
	args       [6]uint64
}

type answer struct {
	id    uint64
	val   int64
	errno int32
	flags uint32
}

func (j *callJudge) run() error {
	for {
		var n notification
		err := askListener(j.listener, unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(&n))
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return fmt.Errorf("receive a system call: %w", err)
		}
		a := answer{id: n.id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
		name, counts := fileCalls[n.nr], onFile(n)
		fails := counts && j.fails(j.made+1, name)
		if fails {
			a.flags, a.errno = 0, -int32(j.errno)
		}
		err = askListener(j.listener, unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&a))
		switch {
		case errors.Is(err, unix.ENOENT): // a signal came between; it is called again
			continue
		case err != nil:
			return fmt.Errorf("answer a system call: %w", err)
		case n.nr == unix.SYS_SYNCFS && int32(n.args[0]) == -1:
			return nil
		}
		if counts {
			j.made++
		}
		if fails {
			j.failed = name
		}
	}
}

// onFile reports whether a call counts.
func onFile(n notification) bool {
	switch n.nr {
	case unix.SYS_READ, unix.SYS_WRITE, unix.SYS_PREAD64, unix.SYS_PWRITE64, unix.SYS_LSEEK, unix.SYS_IOCTL:
		name, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", int32(n.args[0])))
		// A test notes the files that it opens in testlog.txt.
		return err == nil && strings.HasPrefix(name, "/") && !strings.HasPrefix(name, "/dev/") && !strings.HasSuffix(name, "/testlog.txt")
	case unix.SYS_SYNCFS:
		return int32(n.args[0]) != -1
	}
	return true
}

func askListener(fd int, request uint, arg unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(request), uintptr(arg)); errno != 0 {
		return errno
	}
	return nil
}
