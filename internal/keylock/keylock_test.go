package keylock

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/internal/fstest"
)

// A reader that gives way may read the name again inside. Nobody waits for
// ever, also when a writer comes in just then.
func TestAReaderThatGivesWayAndAWriterNeverWaitForEachOther(t *testing.T) {
	var locks Locks
	ctx, cancel := context.WithTimeout(t.Context(), fstest.Patience)
	defer cancel()
	var work sync.WaitGroup
	stop := make(chan struct{})
	repeat := func(turn func() bool) {
		for range 4 {
			work.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					if !turn() {
						return
					}
				}
			})
		}
	}
	repeat(func() bool {
		unlock, err := locks.Lock(ctx, "name")
		if err != nil {
			t.Error(err)
			return false
		}
		unlock()
		return true
	})
	repeat(func() bool {
		inner, unlock, err := locks.Yielding(ctx, "name", fstest.Patience)
		if errors.Is(err, ErrWanted) {
			return true
		}
		if err != nil {
			t.Error(err)
			return false
		}
		if again, err := locks.RLock(inner, "name"); err == nil {
			again()
		}
		unlock()
		return true
	})
	time.Sleep(2 * time.Second) // the more turns, the better
	close(stop)
	work.Wait()
	require.NoError(t, ctx.Err())
	require.Zero(t, locks.Len())
}

// A writer has told that it waits before there was a reader, and does not wait
// yet: the reader that comes in between has to give way all the same.
func TestAReaderGivesWayToAWriterThatIsAboutToWait(t *testing.T) {
	var locks Locks
	l := locks.enter("name")
	got := locks.want(l)
	inner, unlock, err := locks.Yielding(t.Context(), "name", fstest.Patience)
	require.NoError(t, err)
	require.ErrorIs(t, context.Cause(inner), ErrWanted)
	unlock()
	got()
	inner, unlock, err = locks.Yielding(t.Context(), "name", fstest.Patience)
	require.NoError(t, err)
	require.NoError(t, inner.Err(), "nobody waits any more")
	unlock()
	locks.leave("name", l)
	require.Zero(t, locks.Len())
}

func TestCallersHaveANameOneAfterAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var locks Locks
		end, err := locks.Lock(t.Context(), "a")
		require.NoError(t, err)
		other, err := locks.Lock(t.Context(), "b")
		require.NoError(t, err, "another name is another lock")
		other()
		_, ok := locks.TryRLock("a")
		require.False(t, ok)
		ctx, cancel := context.WithCancel(t.Context())
		second, gaveUp := make(chan func(), 1), make(chan error, 1)
		go func() {
			unlock, err := locks.LockAll(context.Background(), "b", "a", "a")
			require.NoError(t, err)
			second <- unlock
		}()
		go func() {
			_, err := locks.LockAll(ctx, "0", "a")
			gaveUp <- err
		}()
		synctest.Wait()
		require.Empty(t, second)
		cancel()
		err = <-gaveUp
		require.ErrorIs(t, err, context.Canceled)
		require.EqualError(t, err, `"a": context canceled`)
		end()
		(<-second)()
		require.Zero(t, locks.Len())
	})
}

func TestReadersShareAName(t *testing.T) {
	var locks Locks
	first, err := locks.RLock(t.Context(), "a")
	require.NoError(t, err)
	second, ok := locks.TryRLock("a")
	require.True(t, ok)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = locks.Lock(ctx, "a")
	require.ErrorIs(t, err, context.Canceled)
	first()
	second()
	require.Zero(t, locks.Len())
}
