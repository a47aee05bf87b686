package testrun

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

const noSecond = 77 // the status of killLate when no process gets the number

// killLate kills a child that has ended, when another process has its number.
func killLate() int {
	runtime.LockOSThread()
	c, err := startChild([]string{"true"}, nil, nil)
	if err != nil {
		return 2
	}
	<-c.status
	<-c.alone // nobody else waits for the second one
	const last = "/proc/sys/kernel/ns_last_pid"
	for range 100 { // another process may get the number
		if os.WriteFile(last, []byte(strconv.Itoa(c.pid-1)), 0) != nil {
			return noSecond
		}
		second := exec.Command("sh", "-c", "read line")
		in, err := second.StdinPipe()
		if err != nil || second.Start() != nil {
			return 2
		}
		found := second.Process.Pid == c.pid
		if found {
			c.signal(syscall.SIGKILL)
		}
		fmt.Fprintln(in)
		if err := second.Wait(); err != nil {
			fmt.Fprintln(os.Stderr, "the second process:", err)
			return 3
		}
		if found {
			return 0
		}
	}
	return noSecond
}

func TestAChildThatHasEndedIsNotSignalled(t *testing.T) {
	code, said := run(t, as("late killer")...).end()
	if code == noSecond {
		t.Skip("no process can get the number of another here")
	}
	require.Zero(t, code, said)
}
