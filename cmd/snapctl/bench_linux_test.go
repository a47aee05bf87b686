package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/bench"
	"github.com/layerkeep/layerkeep/bench/report"
	"github.com/layerkeep/layerkeep/internal/fstest"
)

// benchCommand starts a run in a process of its own and waits until it
// measures.
func benchCommand(t *testing.T, scratch string, args ...string) *exec.Cmd {
	t.Helper()
	if !isHostRoot() || !canMount() {
		t.Skip("needs root: it measures")
	}
	cmd := exec.Command("snapctl", append([]string{"bench", "--quick", "--fs", "tmpfs", "--drivers", "vfs", "--scratch", scratch}, args...)...)
	cmd.Stderr = os.Stderr
	require.NoError(t, cmd.Start())
	require.Eventually(t, func() bool { return len(fstest.MountsBelow(t, scratch)) > 0 }, fstest.Patience, time.Millisecond)
	return cmd
}

// runShortBench runs a short benchmark in this process.
func runShortBench(t *testing.T, scratch string, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	args = append([]string{"bench", "--quick", "--time", "1h", "--fs", "tmpfs", "--drivers", "vfs", "--suite", "inodes", "--scratch", scratch}, args...)
	code = run(t.Context(), streams{In: strings.NewReader(""), Out: &o, Err: &e}, args)
	return code, o.String(), e.String()
}

func TestAnInterruptedBenchmarkLeavesNothing(t *testing.T) {
	scratch, out := t.TempDir(), t.TempDir()
	cmd := benchCommand(t, scratch, "--out", out)
	code, _, errs := runShortBench(t, scratch)
	require.Equal(t, exitState, code, "one at a time")
	require.Contains(t, errs, "another run")
	require.NoError(t, cmd.Process.Signal(syscall.SIGINT))
	require.Error(t, cmd.Wait())
	require.Equal(t, exitInterrupted, cmd.ProcessState.ExitCode())
	fstest.RequireNothingIn(t, scratch)
}

func TestABenchmarkRemovesWhatAKilledOneHasLeft(t *testing.T) {
	scratch := t.TempDir()
	cmd := benchCommand(t, scratch)
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	require.NotEmpty(t, fstest.MountsBelow(t, scratch))
	code, _, errs := runShortBench(t, scratch)
	require.Equal(t, exitDone, code, errs)
	fstest.RequireNothingIn(t, scratch)
}

func TestABenchmarkWritesItsReport(t *testing.T) {
	if !isHostRoot() || !canMount() {
		t.Skip("needs root: it measures")
	}
	scratch, out := t.TempDir(), filepath.Join(t.TempDir(), "new", "dir")
	code, text, errs := runShortBench(t, scratch, "--out", out)
	require.Equal(t, exitDone, code, errs)
	fstest.RequireNothingIn(t, scratch)
	require.Contains(t, text, "vfs")
	require.Contains(t, errs, "bench.html")
	var names []string
	entries, err := os.ReadDir(out)
	require.NoError(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	require.ElementsMatch(t, []string{"bench.json", "bench.txt", "bench.html"}, names)
	r, err := report.ReadFile(filepath.Join(out, "bench.json"))
	require.NoError(t, err)
	require.True(t, r.Complete)
	page, err := os.ReadFile(filepath.Join(out, "bench.html"))
	require.NoError(t, err)
	require.Contains(t, string(page), "<svg")
	require.NotContains(t, string(page), "http://", "it needs no network")

	// What an interrupted run has kept is gone on with, unless it was another one.
	r.Results, r.Complete = r.Results[:len(r.Results)/2], false
	dir, err := report.OpenDir(out)
	require.NoError(t, err)
	require.NoError(t, dir.Save(r))
	code, _, errs = runShortBench(t, scratch, "--out", out)
	require.Equal(t, exitDone, code, errs)
	require.Contains(t, errs, "going on")
	require.NoFileExists(t, dir.Part())
	r.Asked.Suites = []string{"copy-up"}
	require.NoError(t, dir.Save(r))
	code, _, errs = runShortBench(t, scratch, "--out", out)
	require.Equal(t, exitState, code)
	require.Contains(t, errs, dir.Part())
	require.NoError(t, os.WriteFile(dir.Part(), []byte("{"), 0o600))
	code, _, errs = runShortBench(t, scratch, "--out", out)
	require.Equal(t, exitInvalid, code)
	require.Contains(t, errs, "remove that file")
}

func TestABenchmarkDoesNotFillASmallDisk(t *testing.T) {
	if !isHostRoot() {
		t.Skip("needs root: it measures")
	}
	scratch := fstest.ScratchSize(t, fstest.Tmpfs, 200)
	code, _, errs := runShortBench(t, scratch)
	require.Equal(t, exitUnsupported, code)
	require.Contains(t, errs, "not enough free space")
	require.Contains(t, errs, "--scratch")
	fstest.RequireNothingIn(t, scratch)
}

func TestTimesThatAreLeftAreShort(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 s", 59 * time.Second: "59 s", 61 * time.Second: "1 min 1 s", 3*time.Hour + 125*time.Second: "3 h 2 min",
	} {
		require.Equal(t, want, leftText(d))
	}
}

// Without a terminal there is a line for each case, and none when nothing is to
// be said.
func TestProgressIsALineForEachCase(t *testing.T) {
	var errs bytes.Buffer
	a := &app{streams: streams{Err: &errs}}
	m := newMeter(a)
	for round := range 3 {
		m.show(bench.Progress{Done: 1, Total: 4, What: "ext4 copy-up/chmod", Round: round, Left: 90 * time.Second})
	}
	m.show(bench.Progress{Done: 2, Total: 4, What: "ext4 copy-up/chown"})
	m.end()
	require.Equal(t, "[2/4] ext4 copy-up/chmod, about 1 min 30 s left\n[3/4] ext4 copy-up/chown\n", errs.String())
	errs.Reset()
	a.global.quiet = true
	m.show(bench.Progress{Done: 1, Total: 4, What: "x"})
	require.Empty(t, errs.String())
}

func TestACanceledBenchmarkSaysThatItWasKept(t *testing.T) {
	dir, err := report.OpenDir(t.TempDir())
	require.NoError(t, err)
	err = explainBench(context.Canceled, bench.Options{}, dir)
	require.Contains(t, faultLine(err), "run the same command again")
}
