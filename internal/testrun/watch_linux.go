package testrun

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Limits say when a test binary counts as hanging, on a quiet machine. On a
// busy one all is longer, by the slowness that is measured when a limit is
// reached.
type Limits struct {
	// Silence is how long it may say nothing. With -test.v every test says that it
	// begins and ends, so this is a limit for one test.
	Silence time.Duration
	// Total is how long it may take.
	Total time.Duration
}

// lastWords is how long a binary that hangs may take to say where.
const lastWords = 20 * time.Second

// A watcher runs one test binary.
type watcher struct {
	run, temp, memory string
	limits            Limits
	child             *child
	leader            <-chan struct{}
	start             time.Time
	heard             atomic.Int64 // when it last said something, in nanoseconds after start
	said              chan struct{}
	measured          time.Time // when slowness was, which takes a processor's time
}

// Watch runs a test binary in the run that this process is part of, with a
// directory for temporary files of its own. It ends the binary when it hangs or
// when the run's leader dies. Whatever the binary leaves is removed: processes,
// mounts, loop devices, files. A binary that passes and leaves something has
// failed. Watch returns the exit status.
func Watch(args []string, limits Limits) int {
	runtime.LockOSThread() // the binary is killed when this thread ends
	// Writing for a reader that has gone must not kill the watcher. An ignored
	// signal would stay ignored in the binary; one that is noted does not.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	w := &watcher{run: os.Getenv(RunEnv), limits: limits, start: time.Now(), said: make(chan struct{})}
	code, err := w.watch(args)
	if err != nil {
		fmt.Fprintln(os.Stderr, "testrun:", err)
		return max(code, 1)
	}
	return code
}

func (w *watcher) watch(args []string) (code int, err error) {
	if w.leader, err = leaderOf(w.run); err != nil {
		return 1, err
	}
	if err := w.makeDirectories(); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, w.clear()) }()
	if code, err = w.supervise(args); err != nil {
		return code, err
	}
	if code == 0 {
		w.child.letRestEnd()
	}
	left, err := w.child.killRest()
	if err != nil {
		return code, err // what does not end can still write, perhaps for ever
	}
	<-w.said // all that could write to it is gone
	if code != 0 {
		return code, nil
	}
	for i, process := range left {
		left[i] = "process " + process
	}
	things, err := w.leftovers()
	if left = append(left, things...); len(left) > 0 {
		fmt.Printf("FAIL: the tests passed and have left behind:\n\t%s\n", strings.Join(left, "\n\t"))
		code = 1
	}
	return code, err
}

// leaderOf returns a channel that is closed when the leader of a run dies.
func leaderOf(run string) (<-chan struct{}, error) {
	pid, err := strconv.Atoi(os.Getenv(leaderEnv))
	if run == "" || err != nil {
		return nil, errors.New("watch: this is not part of a test run (start it with 'testrun run')")
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("the leader of the test run %s is gone: %w", run, err)
	}
	// The leader held the lock before and holds it after, so it is this process.
	lock, err := os.Open(filepath.Join(run, lockName))
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	if unix.Flock(int(lock.Fd()), unix.LOCK_SH|unix.LOCK_NB) == nil {
		return nil, fmt.Errorf("the leader of the test run %s is gone", run)
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		for {
			_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
			if !errors.Is(err, unix.EINTR) {
				return
			}
		}
	}()
	return gone, nil
}

// makeDirectories makes those of the binary. Names are short: sockets are
// below.
func (w *watcher) makeDirectories() error {
	for n := 1; ; n++ {
		w.temp = filepath.Join(w.run, strconv.Itoa(n))
		err := makeTemp(w.temp)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return err
		}
		memory := filepath.Join(memoryBase(), filepath.Base(w.run))
		if ours(memory) {
			if err := makeTemp(filepath.Join(memory, strconv.Itoa(n))); err == nil {
				w.memory = filepath.Join(memory, strconv.Itoa(n))
			}
		}
		return nil
	}
}

// supervise runs the binary to its end.
func (w *watcher) supervise(args []string) (int, error) {
	in, out, err := os.Pipe()
	if err != nil {
		return 1, err
	}
	defer out.Close()
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	defer signal.Stop(signals)
	if w.child, err = startChild(args, []string{"TMPDIR=" + w.temp, MemoryEnv + "=" + w.memory}, out); err != nil {
		return 1, errors.Join(err, in.Close())
	}
	go w.copy(in)
	ticks := time.NewTicker(min(time.Second, w.limits.Silence/4))
	defer ticks.Stop()
	leader := w.leader
	var silenced <-chan time.Time // set once it hangs
	for {
		select {
		case status := <-w.child.status:
			return w.ended(status, silenced != nil), nil
		case sig := <-signals:
			if sig != syscall.SIGQUIT {
				sig = syscall.SIGKILL
			}
			w.child.signal(sig.(syscall.Signal))
		case <-leader:
			fmt.Println("FAIL: the leader of the test run is gone")
			w.child.signal(syscall.SIGKILL)
			leader = nil
		case <-ticks.C:
			if why := w.hangs(); why != "" && silenced == nil {
				fmt.Printf("panic: test timed out: %s\n", why)
				w.child.signal(syscall.SIGQUIT) // which makes it say what it does
				silenced = time.After(lastWords)
			}
		case <-silenced:
			w.child.signal(syscall.SIGKILL)
		}
	}
}

// ended returns the exit status of a binary, which is never 0 after it hung.
func (w *watcher) ended(status syscall.WaitStatus, hung bool) int {
	if status.Signaled() {
		fmt.Printf("FAIL: the test binary was ended by the signal %q\n", status.Signal())
	}
	code := exitCode(status)
	if hung {
		code = max(code, 1)
	}
	return code
}

// copy passes on what the binary says.
func (w *watcher) copy(in *os.File) {
	defer close(w.said)
	defer in.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := in.Read(buf)
		if n > 0 {
			w.heard.Store(int64(time.Since(w.start)))
			_, _ = os.Stdout.Write(buf[:n]) // a reader that has gone is no reason to stop
		}
		if err != nil {
			return // io.EOF, once nobody can write
		}
	}
}

// hangs says why the binary counts as hanging, "" when it does not.
func (w *watcher) hangs() string {
	total := time.Since(w.start)
	silent := total - time.Duration(w.heard.Load())
	if silent < w.limits.Silence && total < w.limits.Total || time.Since(w.measured) < w.limits.Silence/20 {
		return ""
	}
	w.measured = time.Now()
	factor := slowness()
	scaled := func(limit time.Duration) time.Duration { return time.Duration(factor * float64(limit)) }
	switch {
	case silent > scaled(w.limits.Silence):
		return fmt.Sprintf("silent for %v (limit %v on a quiet machine, which this is %.1f times as slow as)", silent.Round(time.Second), w.limits.Silence, factor)
	case total > scaled(w.limits.Total):
		return fmt.Sprintf("running for %v (limit %v on a quiet machine, which this is %.1f times as slow as)", total.Round(time.Second), w.limits.Total, factor)
	default:
		return ""
	}
}

// leftovers lists what is left of a binary that has ended.
func (w *watcher) leftovers() ([]string, error) {
	var left []string
	for _, dir := range []string{w.temp, w.memory} {
		if dir == "" {
			continue
		}
		loops, mounts, err := held(dir)
		if err != nil {
			return left, err
		}
		entries, err := os.ReadDir(dir)
		if err != nil {
			return left, err
		}
		for _, l := range loops {
			left = append(left, "loop device "+l)
		}
		for _, m := range mounts {
			left = append(left, "mount "+m)
		}
		for _, e := range entries {
			left = append(left, filepath.Join(dir, e.Name()))
		}
	}
	return left, nil
}

// held returns the loop devices with images below a directory, and the mounts
// there and of those. It waits for loop devices that nothing mounts: the kernel
// frees them some time after the last unmount.
func held(dir string) (loops, mounts []string, err error) {
	for start := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		if loops, err = loopsOf(dir); err != nil {
			return nil, nil, err
		}
		if mounts, err = mountsOf(dir, loops); err != nil {
			return nil, nil, err
		}
		if len(loops) == 0 || len(mounts) > 0 || time.Since(start) > detachWait {
			return loops, mounts, nil
		}
	}
}

// clear removes the directories of the binary with all that is in them.
func (w *watcher) clear() error {
	var err error
	for _, dir := range []string{w.temp, w.memory} {
		if dir == "" {
			continue
		}
		if e := Clean(dir); e != nil {
			err = errors.Join(err, e)
			continue // never remove what is mounted
		}
		err = errors.Join(err, RemoveAll(dir))
	}
	return err
}
