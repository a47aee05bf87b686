package snapshotter

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/durable"
	"github.com/layerkeep/layerkeep/internal/errkind"
	"github.com/layerkeep/layerkeep/internal/ownfiles"
)

const (
	lockName = "lock"
	// flock(2) cannot be waited for with a deadline, so it is tried again and
	// again, at first quickly: most commands hold a store only briefly.
	firstRetry = 5 * time.Millisecond
	lastRetry  = 100 * time.Millisecond
)

// storeLock is the exclusive right to a store, or a share in the right to read
// it. The kernel drops it with the process; the file stays, and holds the pid
// of its owner for others to read.
type storeLock struct {
	file *os.File
	// shared: it is the right to read the store, beside others that read it.
	shared bool
	// killed: the one that had it last did not come to give it back.
	killed bool
}

// lockStore waits for the lock until the timeout or the context ends, and signs
// it with the address where its holder answers, if any.
func lockStore(ctx context.Context, root, address string, timeout time.Duration) (*storeLock, error) {
	signature, err := sign(os.Getpid(), address)
	if err != nil {
		return nil, err
	}
	if timeout == 0 {
		timeout = DefaultLockTimeout
	}
	f, err := ownfiles.OpenFile(filepath.Join(root, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := waitLock(ctx, f, unix.LOCK_EX, timeout); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	l := &storeLock{file: f}
	if info, err := f.Stat(); err != nil || info.Size() > 0 {
		l.killed = true
	}
	err = l.write(signature)
	// A full disk is no reason to refuse who may want to free some of it. The lock
	// holds without a signature.
	if err != nil && !durable.NoRoom(err) {
		return nil, errors.Join(err, f.Close())
	}
	return l, nil
}

// lockForReading waits until nobody has the store open for writing, and keeps
// everybody from doing so until it is released: what is read must not change
// meanwhile. Others may read as well. The lock file is neither made nor written
// to. Without one it returns nil: on a read-only disk nobody writes, and
// elsewhere the lock of the database, which package meta takes, keeps writers
// away.
func lockForReading(ctx context.Context, root string, timeout time.Duration) (*storeLock, error) {
	f, err := ownfiles.Open(filepath.Join(root, lockName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if timeout == 0 {
		timeout = DefaultLockTimeout
	}
	if err := waitLock(ctx, f, unix.LOCK_SH, timeout); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &storeLock{file: f, shared: true}, nil
}

func waitLock(ctx context.Context, f *os.File, how int, timeout time.Duration) error {
	deadline := time.Now().Add(timeout)
	for wait := firstRetry; ; wait = min(2*wait, lastRetry) {
		err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.EINTR):
			continue
		case !errors.Is(err, unix.EWOULDBLOCK):
			return &os.PathError{Op: "flock", Path: f.Name(), Err: err}
		case time.Now().After(deadline):
			return errkind.As(fmt.Errorf("%w by %s", ErrLocked, keeper(f).advice()), errdefs.ErrUnavailable)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w by %s: %w", ErrLocked, keeper(f), ctx.Err())
		case <-time.After(wait):
		}
	}
}

// keeper returns who keeps us from the lock. What a killed process has left in
// the file says nothing of who reads the store.
func keeper(f *os.File) Holder {
	if unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB) == nil {
		return Holder{readers: true}
	}
	return holder(f)
}

// write replaces what the file says. A reader in between sees nothing, and of a
// signature that was cut short, by a full disk or a kill, its whole lines.
func (l *storeLock) write(text string) error {
	if err := l.file.Truncate(0); err != nil {
		return err
	}
	_, err := l.file.WriteAt([]byte(text), 0)
	return err
}

// release gives the lock back. What stays of the signature on a full disk says
// nothing without the lock.
func (l *storeLock) release() error {
	if l.shared {
		return l.file.Close()
	}
	err := l.write("")
	if durable.NoRoom(err) {
		err = nil
	}
	return errors.Join(err, l.file.Close())
}
