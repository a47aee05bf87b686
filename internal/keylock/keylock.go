package keylock

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
)

// maxReaders is how many calls can read one name side by side.
const maxReaders = 1 << 30

// Locks are locks by name. The zero value is ready.
type Locks struct {
	mu    sync.Mutex
	locks map[string]*lock
}

type lock struct {
	sem  *semaphore.Weighted
	uses int // holders and waiters
	// yields end the contexts of readers that give way to a writer.
	yields map[*context.CancelCauseFunc]bool
	// writers is how many wait for the name alone.
	writers int
}

// ErrWanted is the cause of the end of a context that [Locks.Yielding] has
// returned.
var ErrWanted = errors.New("somebody waits for the name alone")

// Yielding is RLock for a long reading that can be given up: the context that
// it returns ends, with the cause ErrWanted, when somebody begins to wait for
// the name alone. A further read with that context, by who has the name
// already, cannot wait for ever.
func (k *Locks) Yielding(ctx context.Context, name string, patience time.Duration) (_ context.Context, unlock func(), err error) {
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
	waiting, done := context.WithTimeoutCause(ctx, patience, ErrWanted)
	defer done()
	if err := l.sem.Acquire(waiting, 1); err != nil {
		err = context.Cause(waiting)
		end()
		return nil, nil, err
	}
	k.mu.Lock()
	if l.writers > 0 { // one that had told nobody yet when this one came in between
		cancel(ErrWanted)
	}
	k.mu.Unlock()
	return ctx, func() { l.sem.Release(1); end() }, nil
}

// want counts who waits for a name alone, and tells those that give way; got is
// called when the wait is over.
func (k *Locks) want(l *lock) (got func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	l.writers++
	for cancel := range l.yields {
		(*cancel)(ErrWanted)
	}
	return func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		l.writers--
	}
}

// Lock locks a name for one caller alone. An error is the context's.
func (k *Locks) Lock(ctx context.Context, name string) (unlock func(), err error) {
	return k.acquire(ctx, name, maxReaders)
}

// LockAll is Lock for several names. They are taken in sorted order, so that
// two callers with the same names cannot wait for each other. An error names
// the one that was waited for.
func (k *Locks) LockAll(ctx context.Context, names ...string) (unlock func(), err error) {
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
			return nil, fmt.Errorf("%q: %w", name, err)
		}
		held = append(held, u)
	}
	return unlock, nil
}

// RLock locks the name against Lock only. An error is the context's.
func (k *Locks) RLock(ctx context.Context, name string) (unlock func(), err error) {
	return k.acquire(ctx, name, 1)
}

// TryRLock is RLock for a caller that does not wait; not ok while somebody
// writes, or waits to.
func (k *Locks) TryRLock(name string) (unlock func(), ok bool) {
	l := k.enter(name)
	if !l.sem.TryAcquire(1) {
		k.leave(name, l)
		return nil, false
	}
	return k.releaser(name, l, 1), true
}

func (k *Locks) acquire(ctx context.Context, name string, weight int64) (func(), error) {
	l := k.enter(name)
	if weight == maxReaders {
		defer k.want(l)()
	}
	if err := l.sem.Acquire(ctx, weight); err != nil {
		k.leave(name, l)
		return nil, err
	}
	return k.releaser(name, l, weight), nil
}

func (k *Locks) releaser(name string, l *lock, weight int64) func() {
	return func() {
		l.sem.Release(weight)
		k.leave(name, l)
	}
}

func (k *Locks) enter(name string) *lock {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.locks == nil {
		k.locks = map[string]*lock{}
	}
	l := k.locks[name]
	if l == nil {
		l = &lock{sem: semaphore.NewWeighted(maxReaders)}
		k.locks[name] = l
	}
	l.uses++
	return l
}

func (k *Locks) leave(name string, l *lock) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if l.uses--; l.uses == 0 {
		delete(k.locks, name)
	}
}

// Len is how many names somebody has or waits for.
func (k *Locks) Len() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.locks)
}
