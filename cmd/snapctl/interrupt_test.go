package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// runStory runs one command line on a store in dir and returns its exit code
// and outputs.
func runStory(ctx context.Context, dir string, in io.Reader, args ...string) (code int, out, errs string) {
	var stdout, stderr bytes.Buffer
	code = run(ctx, streams{In: in, Out: &stdout, Err: &stderr}, append([]string{"--root", filepath.Join(dir, "store")}, args...))
	return code, stdout.String(), stderr.String()
}

// mustRun is runStory for what has to work.
func mustRun(t *testing.T, dir string, args ...string) string {
	t.Helper()
	code, out, errs := runStory(t.Context(), dir, strings.NewReader(""), args...)
	require.Equal(t, exitDone, code, "%v: %s", args, errs)
	return out
}

// demoStore makes a store with the demo's image in a new directory.
func demoStore(t *testing.T) string {
	t.Helper()
	if !canMount() {
		t.Skip("needs root or a user namespace")
	}
	dir := t.TempDir()
	t.Cleanup(func() { unmountBelow(dir) })
	archive, err := demoImage(runtime.GOARCH)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "demo.tar"), archive, 0o600))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "m"), 0o700))
	mustRun(t, dir, "import", filepath.Join(dir, "demo.tar"))
	return dir
}

// stuck is a stream that delivers its beginning, calls back, and then waits for
// ever, as a pipe does to which nobody writes.
type stuck struct {
	beginning io.Reader
	then      func()
}

func (s *stuck) Read(p []byte) (int, error) {
	n, err := s.beginning.Read(p)
	if err == nil {
		return n, nil
	}
	s.then()
	select {}
}

// bothWays runs a test on a store that the commands open, and on one that a
// service has open.
func bothWays(t *testing.T, test func(t *testing.T, dir string)) {
	t.Run("opened", func(t *testing.T) { test(t, demoStore(t)) })
	t.Run("served", func(t *testing.T) {
		dir := demoStore(t)
		serveStore(t, dir)
		test(t, dir)
	})
}

func TestAnInterruptedCommandThatWaitsForItsInputLeavesTheStoreAsItWas(t *testing.T) {
	bothWays(t, interruptWaiting)
}

func interruptWaiting(t *testing.T, dir string) {
	mustRun(t, dir, "prepare", "work")
	before := mustRun(t, dir, "--json", "ls")
	archive, err := os.ReadFile(filepath.Join(dir, "demo.tar"))
	require.NoError(t, err)
	for _, args := range [][]string{{"import", "--name", "other", "-"}, {"apply", "work", "-"}} {
		t.Run(args[0], func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			in := &stuck{bytes.NewReader(archive[:len(archive)/2]), func() { cancel(errInterrupted) }}
			code, out, errs := runStory(ctx, dir, in, args...)
			require.Equal(t, exitInterrupted, code, errs)
			require.Empty(t, out)
			require.Contains(t, errs, "interrupted")
			require.Equal(t, 1, strings.Count(errs, "\n"), errs)
			require.Equal(t, before, mustRun(t, dir, "--json", "ls"))
			require.Empty(t, mustRun(t, dir, "changes", "work"))
			require.Contains(t, mustRun(t, dir, "gc"), "removed 0 snapshots and 0 blobs")
		})
	}
}

func TestAnInterruptedDiffLeavesNoFile(t *testing.T) {
	dir := demoStore(t)
	out := filepath.Join(dir, "out")
	require.NoError(t, os.Mkdir(out, 0o700))
	ctx, cancel := context.WithCancelCause(t.Context())
	a := &app{streams: streams{Err: io.Discard}}
	err := a.writeOut(ctx, filepath.Join(out, "layer.tar"), func(w io.Writer) error {
		_, err := w.Write([]byte("the beginning"))
		require.NoError(t, err)
		cancel(errInterrupted)
		_, err = w.Write([]byte("the end"))
		return err
	})
	require.ErrorIs(t, err, context.Canceled)
	left, err := os.ReadDir(out)
	require.NoError(t, err)
	require.Empty(t, left)
}

// A pipe that nobody reads must not keep an interrupted command.
func TestAnInterruptedCommandDoesNotWaitForItsReader(t *testing.T) {
	bothWays(t, interruptStuckReader)
}

func interruptStuckReader(t *testing.T, dir string) {
	ctx, cancel := context.WithCancelCause(t.Context())
	full := writerFunc(func([]byte) (int, error) {
		cancel(errInterrupted)
		select {}
	})
	var errs bytes.Buffer
	code := run(ctx, streams{Out: full, Err: &errs}, []string{"--root", filepath.Join(dir, "store"), "diff", demoRef})
	require.Equal(t, exitInterrupted, code)
	require.Contains(t, errs.String(), "interrupted")
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestACommandThatIsInterruptedBeforeItBeginsDoesNothing(t *testing.T) {
	bothWays(t, interruptBeforehand)
}

func interruptBeforehand(t *testing.T, dir string) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errInterrupted)
	before := mustRun(t, dir, "--json", "ls")
	for _, args := range story(dir) {
		code, _, errs := runStory(ctx, dir, strings.NewReader(""), args...)
		require.Equal(t, exitInterrupted, code, "%v: %s", args, errs)
	}
	require.Equal(t, before, mustRun(t, dir, "--json", "ls"))
}

// hesitant is a context that ends when it is looked at for the n-th time.
type hesitant struct {
	context.Context
	left   *atomic.Int64
	cancel context.CancelCauseFunc
}

func newHesitant(parent context.Context, n int) hesitant {
	ctx, cancel := context.WithCancelCause(parent)
	h := hesitant{Context: ctx, left: new(atomic.Int64), cancel: cancel}
	h.left.Store(int64(n))
	return h
}

func (h hesitant) look() {
	if h.left.Add(-1) == 0 {
		h.cancel(errInterrupted)
	}
}

func (h hesitant) Done() <-chan struct{} { h.look(); return h.Context.Done() }
func (h hesitant) Err() error            { h.look(); return h.Context.Err() }

func TestACommandThatSaysItWasInterruptedHasDoneNothing(t *testing.T) {
	bothWays(t, interruptAnywhere)
}

func interruptAnywhere(t *testing.T, dir string) {
	target := filepath.Join(dir, "m")
	for _, args := range [][]string{
		{"prepare", "work", demoRef},
		{"mount", "work", target},
		{"umount", target},
		{"commit", "changed", "work"},
		{"rename", "changed", "again"},
		{"rename", "again", "changed"},
		{"view", "look", "changed"},
		{"mount", demoRef, target},
		{"umount", target},
		{"mount", "--rw", "other", "changed", target},
		{"umount", target},
		{"rm", "look"},
		{"rmi", demoRef},
		{"import", "--name", "again", filepath.Join(dir, "demo.tar")},
	} {
		t.Run(strings.Join(args[:2], " "), func(t *testing.T) {
			before := mustRun(t, dir, "--json", "ls") + mustRun(t, dir, "--json", "images")
			for n, done := 1, false; !done; n += 1 + n/8 {
				code, _, errs := runStory(newHesitant(t.Context(), n), dir, strings.NewReader(""), args...)
				if done = code == exitDone; done {
					break
				}
				require.Contains(t, errs, "interrupted", "look %d", n)
				after := mustRun(t, dir, "--json", "ls") + mustRun(t, dir, "--json", "images")
				require.Equal(t, before, after, "look %d: %s", n, errs)
			}
		})
	}
}

// A check that is ended goes on where it was.
func TestAnInterruptedCheckTellsHowToGoOn(t *testing.T) {
	bothWays(t, interruptCheck)
}

func interruptCheck(t *testing.T, dir string) {
	removed := 0
	blobs, err := filepath.Glob(filepath.Join(dir, "store/content/blobs/sha256/*"))
	require.NoError(t, err)
	for _, b := range blobs { // the manifest, the config and the layers of the image
		require.NoError(t, os.Rename(b, filepath.Join(dir, filepath.Base(b))))
		removed++
	}
	require.Positive(t, removed)
	mustRun(t, dir, "prepare", "another")
	whole := func(args ...string) []string {
		code, out, errs := runStory(t.Context(), dir, strings.NewReader(""), append([]string{"check", "--read-data"}, args...)...)
		require.Equal(t, exitDamaged, code, errs)
		lines := strings.Split(strings.TrimSpace(out), "\n")
		return lines[:len(lines)-1] // without the summary
	}
	all := whole()
	require.Greater(t, len(all), 1)

	ctx, cancel := context.WithCancelCause(t.Context())
	var out, errs bytes.Buffer
	first := writerFunc(func(b []byte) (int, error) {
		cancel(errInterrupted)
		return out.Write(b)
	})
	args := []string{"--root", filepath.Join(dir, "store"), "check", "--read-data"}
	code := run(ctx, streams{In: strings.NewReader(""), Out: first, Err: &errs}, args)
	require.Equal(t, exitInterrupted, code)
	_, after, told := strings.Cut(errs.String(), "--after ")
	if !told { // through a service that was told so only once in a second
		require.NotContains(t, errs.String(), "go on")
		return
	}
	after = strings.TrimSuffix(strings.TrimSpace(after), ")")
	before, more := strings.Split(strings.TrimSpace(out.String()), "\n"), whole("--after", after)
	require.Equal(t, all[:len(before)], before)
	require.Equal(t, all[len(all)-len(more):], more)
	require.GreaterOrEqual(t, len(before)+len(more), len(all), "what was not looked at to the end is looked at again")

	code, _, errors := runStory(t.Context(), dir, strings.NewReader(""), "check", "--after", "nonsense")
	require.Equal(t, exitUsage, code)
	require.Contains(t, errors, "nonsense")
}
