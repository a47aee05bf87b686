package snapshotter

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/internal/fstest"
)

// A reader that gives way may read the name again inside. Nobody waits for ever, also
// when a writer comes in just then.
func TestAReaderThatGivesWayAndAWriterNeverWaitForEachOther(t *testing.T) {
	var locks keyLocks
	ctx, cancel := context.WithTimeout(t.Context(), fstest.Patience)
	defer cancel()
	var work sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		work.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				unlock, err := locks.write(ctx, "name")
				if err != nil {
					t.Error(err)
					return
				}
				unlock()
			}
		})
	}
	for range 4 {
		work.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				inner, unlock, err := locks.yielding(ctx, "name", fstest.Patience)
				if errors.Is(err, errWanted) {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				if again, err := locks.read(inner, "name"); err == nil {
					again()
				}
				unlock()
			}
		})
	}
	time.Sleep(2 * time.Second) // the more turns, the better
	close(stop)
	work.Wait()
	require.NoError(t, ctx.Err())
	require.Empty(t, locks.locks)
}

// A writer has told that it waits before there was a reader, and does not wait yet: the
// reader that comes in between has to give way all the same.
func TestAReaderGivesWayToAWriterThatIsAboutToWait(t *testing.T) {
	var locks keyLocks
	l := locks.enter("name")
	got := locks.want(l)
	inner, unlock, err := locks.yielding(t.Context(), "name", fstest.Patience)
	require.NoError(t, err)
	require.ErrorIs(t, context.Cause(inner), errWanted)
	unlock()
	got()
	inner, unlock, err = locks.yielding(t.Context(), "name", fstest.Patience)
	require.NoError(t, err)
	require.NoError(t, inner.Err(), "nobody waits any more")
	unlock()
	locks.leave("name", l)
	require.Empty(t, locks.locks)
}
