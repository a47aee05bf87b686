package main

import (
	"bytes"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/internal/fstest"
)

func TestASecondSignalEndsAServiceThatWaitsForACall(t *testing.T) {
	for _, second := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(second.String(), func(t *testing.T) {
			dir := demoStore(t)
			s := serveStore(t, dir)
			mustRun(t, dir, "prepare", "work")
			begun := make(chan struct{})
			result := make(chan int, 1)
			go func() {
				// Half a block, so that the call waits for the other half.
				in := &stuck{bytes.NewReader(make([]byte, 256)), func() { close(begun) }}
				code, _, _ := runStory(t.Context(), dir, in, "--address", s.address, "apply", "work", "-")
				result <- code
			}()
			<-begun
			require.NoError(t, s.cmd.Process.Signal(syscall.SIGTERM))
			require.Eventually(t, func() bool { return strings.Contains(s.said(), "stopping") }, fstest.Patience, time.Millisecond)
			require.NoError(t, s.cmd.Process.Signal(second))
			ended := make(chan error, 1)
			go func() { ended <- s.cmd.Wait() }()
			select {
			case err := <-ended:
				require.Error(t, err)
			case <-time.After(fstest.Patience):
				require.NoError(t, s.cmd.Process.Kill())
				<-ended
				require.Fail(t, "it did not end")
			}
			require.Equal(t, exitFailed, s.cmd.ProcessState.ExitCode())
			require.NotContains(t, s.said(), "cancelled")
			require.Equal(t, exitFailed, <-result, "the call was lost")
			require.Contains(t, mustRun(t, dir, "ls"), "work", "the next one goes on with the store")
		})
	}
}
