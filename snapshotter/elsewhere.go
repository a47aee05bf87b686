package snapshotter

import (
	"errors"
	"fmt"

	"github.com/containerd/errdefs"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/errkind"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

// ErrElsewhere: the layer of a snapshot, or a layer below it, is in an
// additional store that is not open, or that no longer has it. The message has
// the ID of that store. It matches ErrLayerDamaged, although nothing is lost:
// the snapshot works again as soon as the store is given again.
var ErrElsewhere = errors.New("it is in an additional store that cannot be used")

// lentDamage makes the ErrElsewhere of the snapshot key.
func lentDamage(key, store, why string) error {
	return errkind.Only(
		fmt.Errorf("snapshot %q: %w: it is in the additional store %s, %s", key, ErrLayerDamaged, store, why),
		ErrLayerDamaged, ErrElsewhere, ErrLayerMissing, errdefs.ErrDataLoss)
}

// elsewhere returns an error for a borrowed snapshot when its store is not
// open, or has another layer under its name. It returns nil for a snapshot of
// this store.
func (s *Snapshotter) elsewhere(row meta.Snapshot) error {
	if row.Store == "" {
		return nil
	}
	from := s.store(row.Store)
	if from == nil {
		return lentDamage(row.Name, row.Store, "which is not open: give its directory with --additional")
	}
	there, err := from.row(row.Origin)
	if err == nil && (there.Kind != meta.Committed || string(from.lentLayer(there)) != row.Layer || !there.Created.Equal(row.Created)) {
		err = errors.New("another one has its name")
	}
	if err != nil {
		return lentDamage(row.Name, row.Store,
			fmt.Sprintf("which has it no more (%v): give the store as it was with --additional, or remove what stands on the snapshot", err))
	}
	return nil
}

// inReach returns an error when the snapshot or one of its parents is borrowed
// and cannot be used now. In a store without borrowed snapshots it reads no
// rows.
func (s *Snapshotter) inReach(tx *meta.Tx, name string) error {
	if n, err := tx.Borrowed(); n == 0 || err != nil {
		return err
	}
	chain, err := tx.Chain(name)
	if err != nil {
		return err
	}
	for _, row := range chain {
		if err := s.elsewhere(row); err != nil {
			return err
		}
	}
	return nil
}

// errLent is the error of a call that would change the layer of a borrowed
// snapshot.
func errLent(row meta.Snapshot) error {
	return fail(errdefs.ErrFailedPrecondition, "snapshot %q: %w: its layer is in the additional store %s, which has to be repaired itself",
		row.Name, driver.ErrReadOnly, row.Store)
}
