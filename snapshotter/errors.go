package snapshotter

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/durable"
	"github.com/layerkeep/layerkeep/internal/errkind"
	"github.com/layerkeep/layerkeep/internal/ownfiles"
	"github.com/layerkeep/layerkeep/mount"
)

// Errors of [Open]. They are wrapped with the store's root and with what to do.
var (
	// ErrLocked: another process has the store open. The message has its
	// process ID.
	ErrLocked = errors.New("store is locked")
	// ErrOtherDriver: the store was made with another driver than
	// Options.Driver.
	ErrOtherDriver = errors.New("store belongs to another driver")
	// ErrNewerStore: a newer version of Layerkeep has written the store.
	ErrNewerStore = errors.New("store is of a newer version")
	// ErrNotStore: the root is not a directory, or contains other files and no
	// store.
	ErrNotStore = errors.New("not a layerkeep store")
	// ErrForeign: the root contains layers of another engine and no store. It
	// becomes a store when Options.Driver names the driver that reads these
	// layers. Also matches ErrNotStore.
	ErrForeign = fmt.Errorf("%w yet", ErrNotStore)
	// ErrDamaged: the store's own files are missing or unreadable.
	ErrDamaged = errors.New("store is damaged")
	// ErrUnsafe: a file or directory of the store itself is a link, a fifo or a
	// device, or belongs to a user who could change it. The methods of a
	// Snapshotter return it too, for files in the directory of a layer.
	ErrUnsafe = ownfiles.ErrUnsafe
)

// ErrReadOnly: the call would change a store that is open for reading only, see
// Options.ReadOnly. It is [driver.ErrReadOnly], so it matches syscall.EROFS.
// What the methods of a Snapshotter return also matches
// errdefs.ErrFailedPrecondition.
var ErrReadOnly = driver.ErrReadOnly

// errClosed is returned by every method after Close.
var errClosed = errkind.As(errors.New("store is closed"), errdefs.ErrUnavailable)

// fail makes an error with a message of its own and a kind of errdefs.
func fail(kind error, format string, args ...any) error {
	return errkind.As(fmt.Errorf(format, args...), kind)
}

// classify gives an error of a driver the matching kind of errdefs.
func classify(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.Is(err, ErrLayerDamaged):
		return err // errdefs already recognizes these
	case errors.Is(err, driver.ErrNotFound):
		return errkind.As(err, errdefs.ErrNotFound)
	case errors.Is(err, driver.ErrReadOnly):
		return errkind.As(err, errdefs.ErrFailedPrecondition)
	case errors.Is(err, driver.ErrExists):
		return errkind.As(err, errdefs.ErrAlreadyExists)
	case errors.Is(err, driver.ErrSealed), errors.Is(err, driver.ErrNotSealed), errors.Is(err, driver.ErrNeedsParents),
		errors.Is(err, driver.ErrTorn), errors.Is(err, mount.ErrUnmapped), errors.Is(err, ErrUnsafe),
		errors.Is(err, diff.ErrNotCarried):
		return errkind.As(err, errdefs.ErrFailedPrecondition)
	case errors.Is(err, driver.ErrBusy):
		return errkind.As(err, errdefs.ErrUnavailable)
	case errors.Is(err, driver.ErrUnsupported):
		return errkind.As(err, errdefs.ErrNotImplemented)
	case errors.Is(err, driver.ErrDigest), errors.Is(err, driver.ErrInvalidLayer), errors.Is(err, driver.ErrInvalidID):
		return errkind.As(err, errdefs.ErrInvalidArgument)
	default:
		return exhausted(err)
	}
}

// exhausted gives the error of a full disk the kind ErrResourceExhausted.
func exhausted(err error) error {
	if durable.NoRoom(err) {
		return errkind.As(err, errdefs.ErrResourceExhausted)
	}
	return err
}
