package kernels

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const script = "../../scripts/test-vm"

// Exit statuses of the script; its help has all of them.
const (
	ranAll        = 0
	programFailed = 1
	badUsage      = 2
	noBoot        = 3
	timeOver      = 4
	notPossible   = 7
	terminated    = 143
)

// A machine is a kernel, and how the machine that runs it is made.
type machine struct {
	name    string   // of the subtest
	options []string // of scripts/test-vm; nil for this machine
}

// execute runs the programs on the machine and returns the exact release of its
// kernel and what each run said. Where no such machine can be had, t is
// skipped.
func (m machine) execute(t *testing.T, p *programs, runs []run) (string, []suiteLog) {
	t.Helper()
	if m.options == nil {
		return p.executeHere(t, runs)
	}
	out := t.TempDir()
	limit, timeout := "2400", "10800"
	if *long {
		limit, timeout = "14400", "50000"
	}
	// On a machine that is busy building, half a minute of boot can take five.
	args := append([]string{"--out", out, "--boot", "900", "--limit", limit, "--timeout", timeout}, m.options...)
	for _, f := range p.files(t) {
		args = append(args, "--add", f)
	}
	for _, r := range runs {
		args = append(args, strings.Join(append([]string{p.path(r.program)}, r.args...), ","))
	}
	stop := logProgress(t, filepath.Join(out, "live.log"))
	status, said := runScript(t, nil, args...)
	stop()
	switch status {
	case ranAll, programFailed:
	case notPossible:
		if *full || *aufsDir != "" { // asked for by name
			t.Fatal(lastLine(said))
		}
		t.Skip(lastLine(said))
	default:
		live, _ := os.ReadFile(filepath.Join(out, "live.log"))
		t.Fatalf("%s ended with %d:\n%s\nthe programs said last:\n%s", script, status, said, lastLines(string(live), 40))
	}
	release, logs := readOutput(t, out, runs)
	complaints, err := os.ReadFile(filepath.Join(out, "complaints"))
	require.NoError(t, err)
	if len(complaints) > 0 {
		t.Errorf("the kernel %s found faults in itself:\n%s", release, complaints)
	}
	return release, logs
}

// logProgress logs every minute how far the programs in an emulated machine
// have come, by what they have said so far in the file live: a test that says
// nothing counts as hanging. A program that hangs there is ended by
// scripts/test-vm.
func logProgress(t *testing.T, live string) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	ticks := time.NewTicker(time.Minute)
	go func() {
		defer close(ended)
		for {
			select {
			case <-done:
				return
			case <-ticks.C:
				said, _ := os.ReadFile(live) // not there before the boot
				t.Logf("%d tests have passed, %d failed; last: %s", bytes.Count(said, []byte("--- PASS")),
					bytes.Count(said, []byte("--- FAIL")), lastLine(string(said)))
			}
		}
	}()
	return func() {
		ticks.Stop()
		close(done)
		<-ended
	}
}

// runScript runs scripts/test-vm, which ends when this test does, and returns
// its exit status and what it said. Each line is logged as it comes: a first
// run may take long, and a test that says nothing counts as hanging.
func runScript(t *testing.T, env []string, args ...string) (int, string) {
	t.Helper()
	return runScriptWith(t, func(line string) { t.Log(line) }, env, args...)
}

func runScriptWith(t *testing.T, log func(line string), env []string, args ...string) (int, string) {
	t.Helper()
	runtime.LockOSThread() // the death signal comes when the thread ends
	defer runtime.UnlockOSThread()
	ctx := t.Context()
	if deadline, ok := t.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-time.Minute))
		defer cancel()
	}
	cmd := exec.CommandContext(ctx, script, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 30 * time.Second
	said := &lines{log: log}
	cmd.Stdout, cmd.Stderr = said, said
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		require.NoError(t, err, said.String())
	}
	return cmd.ProcessState.ExitCode(), said.String()
}

// lines keeps what is written to it, and logs each line when it is whole.
type lines struct {
	said   bytes.Buffer // not embedded: its ReadFrom would be used instead of Write
	log    func(line string)
	logged int // bytes
}

func (l *lines) Write(p []byte) (int, error) {
	n, err := l.said.Write(p)
	for {
		line, _, whole := bytes.Cut(l.said.Bytes()[l.logged:], []byte("\n"))
		if !whole {
			return n, err
		}
		l.logged += len(line) + 1
		l.log(string(line))
	}
}

func (l *lines) String() string { return l.said.String() }

// readOutput reads what an emulated machine has left in out.
func readOutput(t *testing.T, out string, runs []run) (string, []suiteLog) {
	t.Helper()
	release, err := os.ReadFile(filepath.Join(out, "release"))
	require.NoError(t, err)
	results, err := os.ReadFile(filepath.Join(out, "results"))
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(string(results)), "\n")
	require.Len(t, lines, len(runs))
	var logs []suiteLog
	for i, line := range lines {
		fields := strings.Fields(line)
		require.Len(t, fields, 3, line)
		f, err := os.Open(filepath.Join(out, fields[0]+".log"))
		require.NoError(t, err)
		l, err := parseLog(f)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		status, err := strconv.Atoi(fields[1])
		require.NoError(t, err)
		seconds, err := strconv.Atoi(fields[2])
		require.NoError(t, err)
		logs = append(logs, suiteLog{run: runs[i], log: l, status: status, seconds: seconds})
	}
	return strings.TrimSpace(string(release)), logs
}

// executeHere runs the programs on this machine's own kernel.
func (p *programs) executeHere(t *testing.T, runs []run) (string, []suiteLog) {
	t.Helper()
	shell, err := busybox()
	if err != nil {
		t.Skip("no busybox here")
	}
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	require.NoError(t, err)
	var logs []suiteLog
	for _, r := range runs {
		argv := append([]string{p.path(r.program)}, r.args...)
		if !strings.HasSuffix(r.program, ".test") {
			argv = append([]string{shell, "sh"}, argv...)
		}
		start := time.Now()
		t.Log("running", r.suite) // a test that says nothing counts as hanging
		cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
		cmd.Dir = t.TempDir()
		cmd.Env = append(os.Environ(), "TMPDIR="+cmd.Dir, "PWD="+cmd.Dir)
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			require.NoError(t, err)
		}
		l, err := parseLog(bytes.NewReader(out))
		require.NoError(t, err)
		logs = append(logs, suiteLog{run: r, log: l, status: cmd.ProcessState.ExitCode(), seconds: int(time.Since(start).Seconds())})
	}
	return strings.TrimSpace(string(release)), logs
}

func lastLine(s string) string { return lastLines(s, 1) }

func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
