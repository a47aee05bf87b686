package snapshotter

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/semaphore"
)

// maxReaders is how many calls can read one snapshot side by side.
const maxReaders = 1 << 30

// keyLocks orders the calls on one name: a driver leaves that to its caller.
// Waiting ends with the context. The zero value is ready.
type keyLocks struct {
	mu    sync.Mutex
	locks map[string]*keyLock
}

type keyLock struct {
	sem  *semaphore.Weighted
	uses int // holders and waiters
}

// write locks the names for one call alone. They are taken in sorted order, so
// that two calls with the same names cannot wait for each other.
func (k *keyLocks) write(ctx context.Context, names ...string) (unlock func(), err error) {
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	var held []func()
	unlock = func() {
		for _, u := range slices.Backward(held) {
			u()
		}
	}
	for _, name := range names {
		u, err := k.acquire(ctx, name, maxReaders)
		if err != nil {
			unlock()
			return nil, err
		}
		held = append(held, u)
	}
	return unlock, nil
}

// read locks the name against write only.
func (k *keyLocks) read(ctx context.Context, name string) (unlock func(), err error) {
	return k.acquire(ctx, name, 1)
}

func (k *keyLocks) acquire(ctx context.Context, name string, weight int64) (func(), error) {
	l := k.enter(name)
	if err := l.sem.Acquire(ctx, weight); err != nil {
		k.leave(name, l)
		return nil, fmt.Errorf("wait for other work on snapshot %q: %w", name, err)
	}
	return func() {
		l.sem.Release(weight)
		k.leave(name, l)
	}, nil
}

func (k *keyLocks) enter(name string) *keyLock {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.locks == nil {
		k.locks = map[string]*keyLock{}
	}
	l := k.locks[name]
	if l == nil {
		l = &keyLock{sem: semaphore.NewWeighted(maxReaders)}
		k.locks[name] = l
	}
	l.uses++
	return l
}

func (k *keyLocks) leave(name string, l *keyLock) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if l.uses--; l.uses == 0 {
		delete(k.locks, name)
	}
}

// calls counts the running calls, so that Close can wait for them. The zero
// value is ready.
type calls struct {
	mu     sync.Mutex
	closed bool
	wg     sync.WaitGroup
}

// begin admits a call; end must be called when it returns.
func (c *calls) begin() (end func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errClosed
	}
	c.wg.Add(1)
	return c.wg.Done, nil
}

// close refuses further calls and waits for the running ones. It reports
// whether this was the first close.
func (c *calls) close() bool {
	c.mu.Lock()
	first := !c.closed
	c.closed = true
	c.mu.Unlock()
	c.wg.Wait()
	return first
}

// background runs one piece of work beside the calls, and once more when it is
// asked for while running. The zero value is ready.
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

// wait returns when nothing runs any more.
func (b *background) wait() { b.wg.Wait() }
