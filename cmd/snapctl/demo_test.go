package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"
)

func TestTheDemoImageIsTheSameBytesEverywhere(t *testing.T) {
	body, err := demoImage("amd64")
	require.NoError(t, err)
	const want = "sha256:8c8d055f29408263adb6687087698a1a79046ed3274f52a5f61a08374a952aa7"
	require.Equal(t, want, digest.FromBytes(body).String())
}

// runDemoIn runs the demo with its temporary directories in dir.
func runDemoIn(ctx context.Context, t *testing.T, out io.Writer, args ...string) (int, string) {
	t.Helper()
	if !canMount() {
		t.Skip("needs root or a user namespace")
	}
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	var errs bytes.Buffer
	code := run(ctx, streams{In: strings.NewReader(""), Out: out, Err: &errs}, append(args, "demo"))
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left, "the demo cleans up after itself")
	return code, errs.String()
}

// An alarm calls back once its text was written.
type alarm struct {
	text string
	fn   func() error
	seen strings.Builder
	rang bool
}

func (a *alarm) Write(p []byte) (int, error) {
	a.seen.Write(p)
	if !a.rang && strings.Contains(a.seen.String(), a.text) {
		a.rang = true
		if err := a.fn(); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

func TestAnInterruptedDemoCleansUp(t *testing.T) {
	for _, s := range demoSteps() {
		t.Run(s.title, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			out := &alarm{text: s.title, fn: func() error { cancel(errInterrupted); return nil }}
			code, errs := runDemoIn(ctx, t, out)
			require.True(t, out.rang)
			require.Equal(t, exitInterrupted, code, errs)
			require.Contains(t, errs, "interrupted")
			require.Equal(t, 1, strings.Count(errs, "\n"), errs)
		})
	}
}

func TestADemoThatCannotTellItsStoryFails(t *testing.T) {
	full := errors.New("no more paper")
	code, errs := runDemoIn(t.Context(), t, &alarm{text: "Look at", fn: func() error { return full }})
	require.Equal(t, exitFailed, code)
	require.Contains(t, errs, full.Error())
}

func TestADemoThatDoesNotDoWhatItSaysFails(t *testing.T) {
	var spoil alarm
	spoil = alarm{text: "7. List the changes", fn: func() error {
		_, rest, _ := strings.Cut(spoil.seen.String(), "$ cd ")
		dir, _, _ := strings.Cut(rest, "\n")
		return os.WriteFile(dir+"/merged/unexpected", nil, 0o600)
	}}
	code, errs := runDemoIn(t.Context(), t, &spoil)
	require.Equal(t, exitFailed, code)
	require.Contains(t, errs, "step 7")
	require.Contains(t, errs, "expected that the changes are")
}
