package graphdriver

import (
	"context"
	"fmt"
	"sync"
)

// idLocks orders the calls that change one layer. Waiting ends with the context.
// The zero value is ready.
type idLocks struct {
	mu    sync.Mutex
	locks map[string]*idLock
}

type idLock struct {
	held chan struct{} // of one; full while somebody holds the lock
	uses int           // holders and waiters
}

// lock waits for the layer and returns what gives it free again. Nobody holds
// two at once, so that hostile IDs cannot make calls wait for each other.
func (l *idLocks) lock(ctx context.Context, id string) (unlock func(), err error) {
	lock := l.enter(id)
	select {
	case lock.held <- struct{}{}:
		return func() {
			<-lock.held
			l.leave(id, lock)
		}, nil
	case <-ctx.Done():
		l.leave(id, lock)
		return nil, fmt.Errorf("wait for other calls on layer %s: %w", id, ctx.Err())
	}
}

func (l *idLocks) enter(id string) *idLock {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.locks == nil {
		l.locks = map[string]*idLock{}
	}
	lock := l.locks[id]
	if lock == nil {
		lock = &idLock{held: make(chan struct{}, 1)}
		l.locks[id] = lock
	}
	lock.uses++
	return lock
}

func (l *idLocks) leave(id string, lock *idLock) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if lock.uses--; lock.uses == 0 {
		delete(l.locks, id)
	}
}
