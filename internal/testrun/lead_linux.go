package testrun

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

// grace is how long a command that was told to end may take before it is
// killed.
const grace = 10 * time.Second

// Lead cleans up after dead runs and runs a command as a run of its own, with
// busy threads computing beside it. When it returns nothing of the run is left.
// It returns the command's exit status.
func Lead(args []string, busy int) int {
	runtime.LockOSThread() // the command is killed when this thread ends
	removed, err := Sweep()
	for _, dir := range removed {
		fmt.Fprintf(os.Stderr, "removed what the dead test run %s had left\n", dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "testrun:", err) // of somebody's run; this one can go on
	}
	r, err := Start()
	if err != nil {
		fmt.Fprintln(os.Stderr, "testrun:", err)
		return 1
	}
	code, err := r.lead(args, busy)
	if err = errors.Join(err, r.End()); err != nil {
		fmt.Fprintln(os.Stderr, "testrun:", err)
		return max(code, 1)
	}
	return code
}

func (r *Run) lead(args []string, busy int) (int, error) {
	temp := filepath.Join(r.Dir, "0")
	if err := makeTemp(temp); err != nil {
		return 1, err
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	c, err := startChild(args, []string{RunEnv + "=" + r.Dir, leaderEnv + "=" + strconv.Itoa(os.Getpid()), "TMPDIR=" + temp}, nil)
	if err != nil {
		return 1, err
	}
	defer burn(busy)()
	var end <-chan time.Time
	for {
		select {
		case status := <-c.status:
			_, err := c.killRest()
			return exitCode(status), err
		case sig := <-signals:
			c.signal(sig.(syscall.Signal))
			if end == nil {
				end = time.After(grace)
			}
		case <-end:
			c.signal(syscall.SIGKILL)
		}
	}
}

// makeTemp makes a directory for temporary files, of every user.
func makeTemp(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	return os.Chmod(dir, 0o777|os.ModeSticky)
}

// burn computes on so many threads until it is told to end, or until the
// process has ended.
func burn(threads int) (stop func()) {
	done := make(chan struct{})
	for range threads {
		go func() {
			for {
				select {
				case <-done:
					return
				default:
					compute()
				}
			}
		}()
	}
	return func() { close(done) }
}
