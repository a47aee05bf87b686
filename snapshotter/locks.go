package snapshotter

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

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
	// yields end the contexts of readers that give way to a writer.
	yields map[*context.CancelCauseFunc]bool
	// writers is how many wait for the name alone.
	writers int
}

// errWanted is the cause of the end of a context that [keyLocks.yielding] has returned.
var errWanted = errors.New("somebody waits to change the snapshot")

// yielding is read for a long reading that can be given up: the context that it returns
// ends, with the cause errWanted, when somebody begins to wait for the name alone. A
// further read with that context, by who has the name already, cannot wait for ever.
func (k *keyLocks) yielding(ctx context.Context, name string, patience time.Duration) (_ context.Context, unlock func(), err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	l := k.enter(name)
	k.mu.Lock()
	if l.yields == nil {
		l.yields = map[*context.CancelCauseFunc]bool{}
	}
	l.yields[&cancel] = true
	k.mu.Unlock()
	end := func() {
		k.mu.Lock()
		delete(l.yields, &cancel)
		k.mu.Unlock()
		k.leave(name, l)
		cancel(nil)
	}
	waiting, done := context.WithTimeoutCause(ctx, patience, errWanted)
	defer done()
	if err := l.sem.Acquire(waiting, 1); err != nil {
		err = fmt.Errorf("wait for other work on snapshot %q: %w", name, context.Cause(waiting))
		end()
		return nil, nil, err
	}
	k.mu.Lock()
	if l.writers > 0 { // one that had told nobody yet when this one came in between
		cancel(errWanted)
	}
	k.mu.Unlock()
	return ctx, func() { l.sem.Release(1); end() }, nil
}

// want counts who waits for a name alone, and tells those that give way; got is called
// when the wait is over.
func (k *keyLocks) want(l *keyLock) (got func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	l.writers++
	for cancel := range l.yields {
		(*cancel)(errWanted)
	}
	return func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		l.writers--
	}
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

// tryRead is read for a caller that does not wait; not ok while somebody writes, or
// waits to.
func (k *keyLocks) tryRead(name string) (unlock func(), ok bool) {
	l := k.enter(name)
	if !l.sem.TryAcquire(1) {
		k.leave(name, l)
		return nil, false
	}
	return k.releaser(name, l, 1), true
}

func (k *keyLocks) acquire(ctx context.Context, name string, weight int64) (func(), error) {
	l := k.enter(name)
	if weight == maxReaders {
		defer k.want(l)()
	}
	if err := l.sem.Acquire(ctx, weight); err != nil {
		k.leave(name, l)
		return nil, fmt.Errorf("wait for other work on snapshot %q: %w", name, err)
	}
	return k.releaser(name, l, weight), nil
}

func (k *keyLocks) releaser(name string, l *keyLock, weight int64) func() {
	return func() {
		l.sem.Release(weight)
		k.leave(name, l)
	}
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
