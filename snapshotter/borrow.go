package snapshotter

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

const (
	// LabelChainID is on a committed snapshot that was made from a verified layer.
	// Its value is the chainID of the layer and all layers below it, and the
	// snapshot has the same name. Snapshots with this name have the same content in
	// every store.
	LabelChainID = "layerkeep.dev/image.layer"

	// borrowedPrefix begins the name of a borrowed snapshot when its own name is
	// taken in this store. The ID of the other store and the layer follow. No scope
	// has this name.
	borrowedPrefix = "@/additional/"

	// maxBorrowed is the largest number of snapshots in a chain that is borrowed.
	maxBorrowed = 1000
)

// A borrowed snapshot is a row of this store whose layer is in an additional
// store. The row is made when a call names a committed snapshot that this store
// lacks and an additional store has. The parents of the snapshot get rows too.
// A borrowed snapshot takes no space for a layer, and removing it removes no
// layer.

// borrow makes rows for the snapshot name and its parents when only an
// additional store has them.
func (s *Snapshotter) borrow(ctx context.Context, name string) error {
	if !s.mayBorrow(name) {
		return nil
	}
	lacks := false
	err := s.view(func(tx *meta.Tx) (err error) {
		lacks, err = s.lacks(tx, name)
		return err
	})
	if err != nil || !lacks {
		return err
	}
	if from, _ := s.lookUp(ctx, name); from == nil { // an Update would be wasted when no store has it
		return nil
	}
	return s.update("borrow", func(tx *meta.Tx) error { return s.borrowIn(ctx, tx, name) })
}

// mayBorrow reports whether a snapshot of this name may be borrowed. Names of
// engines' snapshots and reserved names may not.
func (s *Snapshotter) mayBorrow(name string) bool {
	return len(s.others) > 0 && !s.readOnly && name != "" && !strings.HasPrefix(name, scopeMark)
}

// lacks reports whether this store has no snapshot of that name. It also
// returns true for a borrowed snapshot without children whose store no longer
// has it.
func (s *Snapshotter) lacks(tx *meta.Tx, name string) (bool, error) {
	row, err := tx.Snapshot(name)
	if errors.Is(err, meta.ErrNotFound) {
		return true, nil
	}
	stale := err == nil && row.State == meta.Ready && s.elsewhere(row) != nil && len(tx.Children(row)) == 0
	return stale, err
}

// borrowIn is borrow inside a transaction.
func (s *Snapshotter) borrowIn(ctx context.Context, tx *meta.Tx, name string) error {
	if !s.mayBorrow(name) {
		return nil
	}
	lacks, err := s.lacks(tx, name)
	if err != nil || !lacks {
		return err
	}
	from, chain := s.lookUp(ctx, name)
	if from == nil {
		return nil
	}
	if _, err := tx.Snapshot(name); err == nil { // the stale row
		if err := tx.DeleteSnapshot(name); err != nil {
			return err
		}
	}
	parent := ""
	for _, there := range slices.Backward(chain) {
		if parent, err = s.borrowRow(tx, from, there, parent); err != nil {
			return fmt.Errorf("borrow snapshot %q from the additional store %s: %w", name, from.id, err)
		}
	}
	return nil
}

// lookUp returns the first additional store that has a committed snapshot of
// that name, and the rows of its chain, nearest first. It returns nil when no
// store has one. It logs errors of a store and goes on, because the caller may
// mean another snapshot.
func (s *Snapshotter) lookUp(ctx context.Context, name string) (from *Snapshotter, chain []meta.Snapshot) {
	for _, other := range s.others {
		chain, err := other.lend(name)
		if err == nil {
			return other, chain
		}
		if !errors.Is(err, meta.ErrNotFound) {
			s.log.WarnContext(ctx, "snapshot of an additional store cannot be used", "root", other.root, "name", name, "error", err)
		}
	}
	return nil, nil
}

// lend returns the rows of a committed snapshot and its parents, nearest first,
// for another store that borrows them.
func (s *Snapshotter) lend(name string) (chain []meta.Snapshot, err error) {
	err = s.view(func(tx *meta.Tx) error {
		for next := name; next != ""; {
			row, err := ready(tx, next)
			switch {
			case err != nil:
				return err
			case row.Kind != meta.Committed:
				return fmt.Errorf("snapshot %q is not committed: %w", next, meta.ErrNotFound)
			case row.Store != "":
				return fmt.Errorf("snapshot %q is borrowed from the store %s itself: %w", next, row.Store, driver.ErrUnsupported)
			case len(chain) == maxBorrowed:
				return fmt.Errorf("it stands on more than %d snapshots: %w", maxBorrowed, driver.ErrUnsupported)
			}
			if err := errors.Join(s.lentLayer(row).Validate(), checkLabels(nil, row.Labels)); err != nil {
				return fmt.Errorf("snapshot %q: %w", next, err)
			}
			if strings.Contains(row.Layer, ".") {
				return fmt.Errorf("snapshot %q: %w: layer %q", next, driver.ErrInvalidID, row.Layer)
			}
			chain = append(chain, row)
			next = row.Parent
		}
		return nil
	})
	return chain, err
}

// lentLayer returns the ID that the layer of a row has in a store that borrows
// it.
func (s *Snapshotter) lentLayer(row meta.Snapshot) driver.ID {
	return driver.ID(s.id + "." + row.Layer)
}

// borrowRow makes the row for a snapshot of an additional store, over parent,
// and returns its name. It makes no row when this store already has a snapshot
// with the same content; then it returns the name of that one.
func (s *Snapshotter) borrowRow(tx *meta.Tx, from *Snapshotter, there meta.Snapshot, parent string) (string, error) {
	row := meta.Snapshot{
		Name: there.Name, Layer: string(from.lentLayer(there)), Store: from.id, Origin: there.Name, Parent: parent,
		Kind: meta.Committed, State: meta.Ready, Labels: lentLabels(there.Labels), Created: there.Created, Updated: now(),
	}
	other := fmt.Sprint(borrowedPrefix, from.id, "/", there.Layer)
	if strings.HasPrefix(row.Name, scopeMark) { // or it would appear in a scope of this store
		row.Name = other
	}
	for {
		known, err := tx.Snapshot(row.Name)
		if errors.Is(err, meta.ErrNotFound) {
			_, err = tx.CreateSnapshot(row)
			return row.Name, err
		}
		if err != nil {
			return "", err
		}
		if s.holdsSame(known, row) {
			return known.Name, nil
		}
		if row.Name == other {
			return "", fail(errdefs.ErrFailedPrecondition, "snapshot %q is in the way", other)
		}
		row.Name = other
	}
}

// holdsSame reports whether the snapshot known, which this store has, has the
// content that borrowed would have.
func (s *Snapshotter) holdsSame(known, borrowed meta.Snapshot) bool {
	if known.State != meta.Ready || known.Kind != meta.Committed || s.elsewhere(known) != nil {
		return false
	}
	if known.Store == borrowed.Store && known.Layer == borrowed.Layer {
		return true
	}
	verified := func(row meta.Snapshot) bool { return row.Labels[LabelChainID] == row.Name }
	return verified(known) && verified(borrowed) && known.Name == borrowed.Name
}

// lentLabels returns the labels of a snapshot that are also valid in another
// store.
func lentLabels(labels map[string]string) map[string]string {
	labels = maps.Clone(labels)
	for _, label := range append(fixedLabels(), LabelForeign) {
		delete(labels, label)
	}
	return labels
}
