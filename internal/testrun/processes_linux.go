package testrun

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// endWait is how long a killed process may take to go.
const endWait = time.Minute

// endProcesses kills the processes of a run and waits until they are gone:
// those that were started with its directory in [RunEnv].
func endProcesses(run string) error {
	for start := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		pids, err := processesOf(run)
		if err != nil || len(pids) == 0 {
			return err
		}
		if time.Since(start) > endWait {
			return fmt.Errorf("processes %v do not end", pids)
		}
		for _, pid := range pids {
			if err := kill(pid, run); err != nil {
				return err
			}
		}
	}
}

// processesOf returns the processes that were started with the run's directory
// in [RunEnv].
func processesOf(run string) ([]int, error) {
	return processes(func(pid int) bool { return pid != os.Getpid() && isOf(pid, run) })
}

// processes returns the processes in /proc that match.
func processes(match func(pid int) bool) ([]int, error) {
	names, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, n := range names {
		pid, err := strconv.Atoi(n.Name())
		if err == nil && match(pid) {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// isOf reports whether a process that lives was started as one of the run. The
// environment of one that is no more, and of another user's, reads as empty.
func isOf(pid int, run string) bool {
	env, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "environ"))
	if err != nil {
		return false
	}
	for _, v := range bytes.Split(env, []byte{0}) {
		if string(v) == RunEnv+"="+run {
			return true
		}
	}
	return false
}

// kill kills a process of the run, and no other that has got its number.
func kill(pid int, run string) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return os.NewSyscallError("pidfd_open", err)
	}
	defer unix.Close(fd)
	if !isOf(pid, run) {
		return nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill process %d: %w", pid, err)
	}
	return nil
}

// children returns the processes whose parent this one is.
func children() ([]int, error) {
	return processes(func(pid int) bool { return parent(pid) == os.Getpid() })
}

// parent returns the parent of a process, 0 when it is gone.
func parent(pid int) int {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0
	}
	// "PID (NAME) STATE PARENT …", and the name can have anything in it.
	_, rest, _ := strings.Cut(string(stat[bytes.LastIndexByte(stat, ')')+1:]), " ")
	fields := strings.Fields(rest)
	if len(fields) < 2 {
		return 0
	}
	ppid, _ := strconv.Atoi(fields[1]) // 0 when it is no number
	return ppid
}

// commandOf is what a process was called as, for messages.
func commandOf(pid int) string {
	line, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline")) // empty when it is gone
	return fmt.Sprintf("%d (%s)", pid, strings.TrimSpace(string(bytes.ReplaceAll(line, []byte{0}, []byte{' '}))))
}
