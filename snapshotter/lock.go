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
	// flock(2) cannot wait with a deadline, so lockStore tries again and again. At
	// first it tries often, because most commands hold the lock only briefly.
	firstRetry = 5 * time.Millisecond
	lastRetry  = 100 * time.Millisecond
)

// storeLock is the exclusive lock of a store, or a shared lock of a process
// that reads it. The kernel releases it when the process ends. The file stays.
// While the store is open for writing it contains the process ID of the owner.
type storeLock struct {
	file *os.File
	// shared: the lock is that of a reader.
	shared bool
	// killed: the process that had the lock before did not release it.
	killed bool
}

// lockStore waits for the lock until the timeout or the context ends, and then
// writes the signature: the process ID, and the address on which this process
// serves the store, if any.
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
	// Accept a full disk: the caller may want to delete something. The lock is
	// valid without a signature.
	if err != nil && !durable.NoRoom(err) {
		return nil, errors.Join(err, f.Close())
	}
	return l, nil
}

// lockForReading waits until no process has the store open for writing. Until
// the lock is released, no process can open it for writing, so nothing that is
// read changes. Other processes may read too.
//
// lockForReading neither makes nor writes the lock file. When there is none it
// returns nil. On a read-only disk no process writes. Elsewhere the lock of the
// database, which package meta takes, keeps writers out.
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

// keeper returns the process that has the lock. When it is held by readers, the
// file may have the signature of a process that was killed, so keeper ignores
// it.
func keeper(f *os.File) Holder {
	if unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB) == nil {
		return Holder{readers: true}
	}
	return holder(f)
}

// write replaces the content of the file. A process that reads it meanwhile
// finds an empty file, or, when a full disk or a kill cut the signature short,
// its complete lines.
func (l *storeLock) write(text string) error {
	if err := l.file.Truncate(0); err != nil {
		return err
	}
	_, err := l.file.WriteAt([]byte(text), 0)
	return err
}

// release releases the lock. On a full disk the signature may stay; without the
// lock it has no meaning.
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
