package snapshotter

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/containerd/errdefs"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/durable"
	"github.com/layerkeep/layerkeep/internal/errkind"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

// ErrLayerDamaged: the layer of a snapshot, or a layer below it, is missing or
// cannot be read. It matches errdefs.ErrDataLoss. The message names the
// snapshot whose layer is damaged, and says what to do. Calls on other
// snapshots still work.
var ErrLayerDamaged = errors.New("layer is damaged")

// layerDamage makes the ErrLayerDamaged of the snapshot key. It matches none of
// the errors that cause matches. For example a driver.ErrNotFound of a layer
// does not mean that the snapshot is not found.
func layerDamage(key string, cause error) error {
	return errkind.Only(
		fmt.Errorf("snapshot %q: %w: %w; 'snapctl check' tells more, 'snapctl repair' repairs it or says what is lost", key, ErrLayerDamaged, cause),
		ErrLayerDamaged, errdefs.ErrDataLoss)
}

// damaged translates an error of the driver on a layer of the snapshot name,
// which exists. It returns ErrLayerDamaged when the layer, or a layer below it,
// turns out to be missing or unreadable. Otherwise it returns the error itself,
// with its kind. It reads the layers only after an error that damage can cause.
func (s *Snapshotter) damaged(ctx context.Context, name string, err error) error {
	if !canBeDamage(err) || ctx.Err() != nil {
		return classify(err)
	}
	chain, chainErr := s.chain(name)
	if chainErr != nil { // it was removed meanwhile
		return classify(err)
	}
	for i := len(chain) - 1; i >= 0; i-- { // the lowest damaged layer is the cause
		if cause := s.usable(ctx, chain[i]); IsDamage(cause) && !errors.Is(cause, ErrLayerTorn) {
			if store := chain[i].Store; store != "" {
				return lentDamage(chain[i].Name, store, fmt.Sprintf("which is damaged itself (%v): check and repair that store", cause))
			}
			return layerDamage(chain[i].Name, errors.Join(cause, ignoreKnown(err)))
		}
	}
	if IsDiskError(err) {
		return layerDamage(name, err)
	}
	return classify(err)
}

// canBeDamage reports whether a damaged layer can cause this error of a driver.
func canBeDamage(err error) bool {
	if err == nil || errors.Is(err, errdefs.ErrDataLoss) || durable.NoRoom(err) {
		return false
	}
	for _, known := range []error{
		context.Canceled, context.DeadlineExceeded, driver.ErrReadOnly, driver.ErrExists, driver.ErrSealed, driver.ErrNeedsParents,
		driver.ErrTorn, driver.ErrBusy, driver.ErrUnsupported, ErrUnsafe, driver.ErrDigest, driver.ErrInvalidLayer, driver.ErrInvalidID,
		syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EPERM, syscall.EACCES, syscall.EINTR,
	} {
		if errors.Is(err, known) {
			return false
		}
	}
	return true
}

// IsDamage reports whether an error of [Snapshotter.Usable] means that the
// layer is damaged. It returns false for an error that prevented the check,
// such as a lack of file descriptors.
func IsDamage(err error) bool {
	if errors.Is(err, ErrLayerMissing) || errors.Is(err, ErrLayerTorn) || errors.Is(err, ErrQuarantined) {
		return true
	}
	return (errors.Is(err, ErrRecord) || errors.Is(err, ErrUnreadable)) && canBeDamage(err)
}

// IsDiskError reports whether a disk or file system has returned err to say
// that data is lost.
func IsDiskError(err error) bool { return errors.Is(err, syscall.EIO) || isUnclean(err) }

// ignoreKnown drops an error that usable reports in other words.
func ignoreKnown(err error) error {
	if errors.Is(err, driver.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// chain returns the rows of a snapshot and its parents, nearest first.
func (s *Snapshotter) chain(name string) (rows []meta.Snapshot, err error) {
	err = s.view(func(tx *meta.Tx) error {
		if _, err := ready(tx, name); err != nil {
			return err
		}
		rows, err = tx.Chain(name)
		return err
	})
	return rows, err
}

// whole returns an error that matches errdefs.ErrNotFound when the record of a
// snapshot's layer, or of one below, is missing or unreadable.
func (s *Snapshotter) whole(ctx context.Context, name string) error {
	chain, err := s.chain(name)
	if err != nil {
		return err
	}
	for _, row := range chain {
		if err := s.recorded(ctx, row); IsDamage(err) {
			return fail(errdefs.ErrNotFound, "snapshot %q is damaged: %v", name, err)
		} else if err != nil {
			return classify(err)
		}
	}
	return nil
}
