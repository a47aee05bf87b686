package testrun

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A child is the process that a leader or a watcher has started. This process
// becomes the parent of everything below it whose own parent has died.
type child struct {
	pid    int
	fd     int                     // its pidfd, open as long as this process lives
	status chan syscall.WaitStatus // how it ended
	alone  chan struct{}           // closed once there are no processes below
}

// startChild starts a command, with some variables set anew, that is killed
// when the calling thread ends. The caller has locked its goroutine to its
// thread.
func startChild(args, set []string, out *os.File) (*child, error) {
	path, err := exec.LookPath(args[0])
	if err != nil {
		return nil, err
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, os.NewSyscallError("prctl", err)
	}
	stdout, stderr := os.Stdout.Fd(), os.Stderr.Fd()
	if out != nil {
		stdout, stderr = out.Fd(), out.Fd()
	}
	c := &child{status: make(chan syscall.WaitStatus, 1), alone: make(chan struct{})}
	c.pid, err = syscall.ForkExec(path, args, &syscall.ProcAttr{
		Env: with(set), Files: []uintptr{os.Stdin.Fd(), stdout, stderr},
		Sys: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, PidFD: &c.fd},
	})
	if err != nil {
		return nil, &os.PathError{Op: "start", Path: path, Err: err}
	}
	go c.reap()
	return c, nil
}

// with returns the environment of this process with some variables set anew.
func with(set []string) []string {
	name := func(v string) string { key, _, _ := strings.Cut(v, "="); return key }
	env := slices.DeleteFunc(os.Environ(), func(old string) bool {
		return slices.ContainsFunc(set, func(v string) bool { return name(v) == name(old) })
	})
	return append(env, set...)
}

// reap takes leave of every process below as it ends, like the first process of
// a machine does.
func (c *child) reap() {
	defer close(c.alone)
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return // no child is left
		}
		if pid == c.pid {
			c.status <- status
		}
	}
}

// signal sends a signal to the child, and to no other process that has got its
// number.
func (c *child) signal(sig syscall.Signal) {
	_ = unix.PidfdSendSignal(c.fd, sig, nil, 0) // it may have ended
}

// letRestEnd gives what is left below time to end: a process that was told to
// end may be about to.
func (c *child) letRestEnd() {
	select {
	case <-c.alone:
	case <-time.After(grace):
	}
}

// killRest kills what is left below and waits until it is gone. It returns what
// that was.
func (c *child) killRest() (left []string, err error) {
	seen := map[int]bool{}
	for start := time.Now(); ; {
		pids, err := children()
		if err != nil {
			return left, err
		}
		for _, pid := range pids {
			if !seen[pid] && pid != c.pid {
				seen[pid] = true
				left = append(left, commandOf(pid))
			}
			if err := killChild(pid); err != nil {
				return left, err
			}
		}
		select {
		case <-c.alone:
			return left, nil
		case <-time.After(10 * time.Millisecond):
		}
		if time.Since(start) > endWait {
			return left, fmt.Errorf("processes %v do not end", pids)
		}
	}
}

// killChild kills a child of this process, and no other process with its
// number.
func killChild(pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL) {
		return nil
	}
	if err != nil {
		return os.NewSyscallError("pidfd_open", err)
	}
	defer unix.Close(fd)
	if parent(pid) != os.Getpid() {
		return nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill process %d: %w", pid, err)
	}
	return nil
}

// exitCode is the exit status that a shell would give for how a process ended.
func exitCode(status syscall.WaitStatus) int {
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}
