package fstest

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestEachSystemCallOnAFileCanBeMadeToFail(t *testing.T) {
	calls := NewCalls(t)
	path := filepath.Join(t.TempDir(), "f")
	var err error
	write := func() { err = os.WriteFile(path, []byte("x"), 0o600) }
	made, failed := calls.Fail(t, 0, unix.EIO, write)
	require.NoError(t, err)
	require.Empty(t, failed)
	require.GreaterOrEqual(t, made, 2)
	var all []string
	for n := 1; n <= made; n++ {
		require.NoError(t, os.Remove(path))
		_, failed := calls.Fail(t, n, unix.EIO, write)
		all = append(all, failed)
		require.Subset(t, calls.Where(), []string{"os.WriteFile", "internal/fstest.TestEachSystemCallOnAFileCanBeMadeToFail.func1"})
		require.ErrorIs(t, err, unix.EIO)
		require.NoError(t, os.WriteFile(path, nil, 0o600), "nothing fails afterwards")
	}
	require.Equal(t, []string{"openat", "write"}, all)
	require.PanicsWithValue(t, "boom", func() { calls.Fail(t, 0, unix.EIO, func() { panic("boom") }) })
}

func TestACallCanBeMadeToFailByWhoMakesIt(t *testing.T) {
	calls := NewCalls(t)
	path := filepath.Join(t.TempDir(), "f")
	var err error
	both := func() { err = errors.Join(os.WriteFile(path, []byte("x"), 0o600), os.Truncate(path, 0)) }
	require.False(t, calls.FailIn(t, "write", "os.Truncate", unix.EIO, both))
	require.NoError(t, err)
	require.True(t, calls.FailIn(t, "write", "os.WriteFile", unix.EIO, both))
	require.ErrorIs(t, err, unix.EIO)
	require.Contains(t, calls.Where(), "os.WriteFile")
}

// The runtime's own writes are not asked about: a collection of garbage would
// wait for the answer, and who answers for the collection.
func TestACollectionOfGarbageDoesNotWaitForAnAnswer(t *testing.T) {
	calls := NewCalls(t)
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-done:
				return
			default:
				runtime.GC()
			}
		}
	}()
	for range 20 {
		made, _ := calls.Fail(t, 0, 0, func() {
			for range 200 { // each wakes the poller, which has to look at an earlier time
				time.AfterFunc(time.Hour, func() {}).Stop()
				time.AfterFunc(time.Millisecond, func() {})
			}
		})
		require.Zero(t, made)
	}
	close(done)
	<-ended
}
