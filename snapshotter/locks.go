package snapshotter

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/layerkeep/layerkeep/internal/keylock"
)

// keyLocks orders the calls on one snapshot, as drivers require of their
// caller. It is [keylock.Locks], with errors that name the snapshot.
type keyLocks struct{ locks keylock.Locks }

func (k *keyLocks) write(ctx context.Context, names ...string) (unlock func(), err error) {
	if unlock, err = k.locks.LockAll(ctx, names...); err != nil {
		err = fmt.Errorf("wait for other work on snapshot %w", err)
	}
	return unlock, err
}

func (k *keyLocks) read(ctx context.Context, name string) (unlock func(), err error) {
	unlock, err = k.locks.RLock(ctx, name)
	return unlock, waiting(err, name)
}

func (k *keyLocks) yielding(ctx context.Context, name string, patience time.Duration) (_ context.Context, unlock func(), err error) {
	ctx, unlock, err = k.locks.Yielding(ctx, name, patience)
	return ctx, unlock, waiting(err, name)
}

func (k *keyLocks) tryRead(name string) (unlock func(), ok bool) { return k.locks.TryRLock(name) }

func waiting(err error, name string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("wait for other work on snapshot %q: %w", name, err)
}

// calls counts the running calls, so that Close can wait for them. The zero
// value is ready for use.
type calls struct {
	mu     sync.Mutex
	closed bool
	wg     sync.WaitGroup
}

// begin registers a call. The caller calls end when the call returns. After
// close it returns errClosed.
func (c *calls) begin() (end func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errClosed
	}
	c.wg.Add(1)
	return c.wg.Done, nil
}

// close makes begin fail from now on, and waits for the running calls. It
// reports whether this was the first close.
func (c *calls) close() bool {
	c.mu.Lock()
	first := !c.closed
	c.closed = true
	c.mu.Unlock()
	c.wg.Wait()
	return first
}

// background runs one function at a time in the background. A request that
// comes while it runs makes it run once more. The zero value is ready for use.
type background struct {
	mu             sync.Mutex
	running, again bool
	wg             sync.WaitGroup
}

func (b *background) run(work func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.running {
		b.again = true
		return
	}
	b.running = true
	b.wg.Go(func() {
		for {
			work()
			if !b.next() {
				return
			}
		}
	})
}

func (b *background) next() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.running, b.again = b.again, false
	return b.running
}

// wait returns when nothing is running.
func (b *background) wait() { b.wg.Wait() }
