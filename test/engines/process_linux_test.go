package engines

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/internal/fstest"
)

const (
	readyWithin = fstest.Patience
	stopWithin  = fstest.Patience
	runWithin   = 2 * fstest.Patience // of an engine that waits itself
)

// starter runs what it gets on one thread that never ends: a process with a
// parent-death signal is killed when the thread that started it ends.
var starter = sync.OnceValue(func() chan<- func() {
	work := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range work {
			f()
		}
	}()
	return work
})

// A process is a program in the background. It ends with its test.
type process struct {
	name string
	cmd  *exec.Cmd
	log  string
	mute bool          // do not show the output of a failed test
	done chan struct{} // closed when it has ended
	err  error         // of Wait, once done is closed
}

// start starts a program whose output goes to a file in dir, which is shown
// when the test fails. Its temporary files go there too, unless env says
// otherwise: engines write some that they leave, such as the stacks of a
// containerd that dockerd found too slow, on a loaded machine.
func start(t testing.TB, dir string, env []string, name string, args ...string) *process {
	t.Helper()
	f, err := os.CreateTemp(dir, filepath.Base(name)+"-*.log")
	require.NoError(t, err)
	defer f.Close()
	p := &process{name: filepath.Base(name), log: f.Name(), done: make(chan struct{})}
	p.cmd = exec.Command(name, args...)
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.Dir = f, f, dir
	p.cmd.Env = append(append(os.Environ(), "TMPDIR="+dir), env...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	started := make(chan error)
	starter() <- func() { started <- p.cmd.Start() }
	require.NoError(t, <-started, name)
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.stop(t)
		if t.Failed() && !p.mute {
			t.Logf("%s %s said last:\n%s", p.name, strings.Join(args, " "), p.tail())
		}
	})
	return p
}

// output returns all that the process has said.
func (p *process) output(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile(p.log)
	require.NoError(t, err)
	return string(text)
}

func (p *process) tail() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	const most = 6000
	if len(text) > most {
		text = text[len(text)-most:]
	}
	return string(text)
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// stop ends the process with SIGTERM and requires that it obeys. It may be
// called again.
func (p *process) stop(t testing.TB) {
	t.Helper()
	if p.ended() {
		return
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("stop %s: %v", p.name, err)
	}
	select {
	case <-p.done:
	case <-time.After(stopWithin):
		t.Errorf("%s did not stop within %v; it said last:\n%s", p.name, stopWithin, p.tail())
		p.kill()
	}
}

// kill ends the process with SIGKILL and waits until it is gone.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended by itself
	<-p.done
}

// await polls until what returns nil, while the process runs.
func (p *process) await(t testing.TB, what func() error) {
	t.Helper()
	require.NoError(t, p.ready(what))
}

// ready is await for a process that may fail. The error has what it said last.
func (p *process) ready(what func() error) error {
	var last error
	for begin := time.Now(); time.Since(begin) < readyWithin; time.Sleep(20 * time.Millisecond) {
		if p.ended() {
			return fmt.Errorf("%s ended too early: %w; it said last:\n%s", p.name, p.err, p.tail())
		}
		if last = what(); last == nil {
			return nil
		}
	}
	return fmt.Errorf("%s is not ready after %v: %w; it said last:\n%s", p.name, readyWithin, last, p.tail())
}

// listens returns a condition: something accepts connections on a unix socket.
func listens(socket string) func() error { return accepts("unix", socket) }

func accepts(network, address string) func() error {
	return func() error {
		c, err := net.DialTimeout(network, address, time.Second)
		if err != nil {
			return err
		}
		return c.Close()
	}
}

// run runs a program that has to succeed and returns what it printed to its
// standard output.
func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := try(name, args...)
	require.NoError(t, err)
	return out
}

// try runs a program without input; the error has what it said.
func try(name string, args ...string) (string, error) {
	return tryEnv(nil, name, args...)
}

func tryEnv(env []string, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), runWithin)
	defer cancel()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.Env = append(os.Environ(), env...)
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w\n%s%s", filepath.Base(name), strings.Join(args, " "), err, out.String(), errs.String())
	}
	return out.String(), nil
}

// eventually polls until what returns nil.
func eventually(t testing.TB, within time.Duration, what func() error) {
	t.Helper()
	var last error
	for begin := time.Now(); time.Since(begin) < within; time.Sleep(20 * time.Millisecond) {
		if last = what(); last == nil {
			return
		}
	}
	require.NoError(t, last, "after %v", within)
}
