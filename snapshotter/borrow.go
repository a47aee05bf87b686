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
	// LabelChainID is on a committed snapshot that was made from a verified
	// layer. Its value is the chainID of the layer and all layers below it, and
	// the snapshot has the same name. Snapshots of that name have the same
	// content in every store.
	LabelChainID = "layerkeep.dev/image.layer"

	// borrowedPrefix begins the names of borrowed snapshots whose own names are
	// taken here. ID and layer follow. No scope is called so.
	borrowedPrefix = "@/additional/"

	// maxBorrowed is the longest chain that is borrowed.
	maxBorrowed = 1000
)

// A borrowed snapshot is a row of ours whose layer is in an additional store.
// It is made when a call names a committed snapshot that this store lacks and
// an additional one has, with rows for what it stands on. It takes nothing, and
// removing it removes nothing.

// borrow makes the snapshot name and what it stands on borrowed ones where only
// an additional store has it.
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
	if from, _ := s.lookUp(ctx, name); from == nil { // no transaction for what nobody has
		return nil
	}
	return s.update("borrow", func(tx *meta.Tx) error { return s.borrowIn(ctx, tx, name) })
}

// mayBorrow: what belongs to an engine, and what has a reserved name, is never
// borrowed by that name.
func (s *Snapshotter) mayBorrow(name string) bool {
	return len(s.others) > 0 && !s.readOnly && name != "" && !strings.HasPrefix(name, scopeMark)
}

// lacks reports whether there is no snapshot of that name, or one that is
// borrowed from a store that has it no more and on which nothing stands.
func (s *Snapshotter) lacks(tx *meta.Tx, name string) (bool, error) {
	row, err := tx.Snapshot(name)
	if errors.Is(err, meta.ErrNotFound) {
		return true, nil
	}
	stale := err == nil && row.State == meta.Ready && s.elsewhere(row) != nil && len(tx.Children(row)) == 0
	return stale, err
}

// borrowIn is borrow in a transaction.
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
	if _, err := tx.Snapshot(name); err == nil { // the stale one
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
// that name, and its rows, nearest first; nil where none has. What is wrong
// with one is logged: it is no reason to fail for who may mean something else.
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

// lend returns the rows of a committed snapshot and of what it stands on, for
// another store.
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

// lentLayer is the ID that the layer of a row has in a store that borrows it.
func (s *Snapshotter) lentLayer(row meta.Snapshot) driver.ID {
	return driver.ID(s.id + "." + row.Layer)
}

// borrowRow makes the row of ours for one of an additional store, over parent,
// and returns its name. One that is there and holds the same does as well.
func (s *Snapshotter) borrowRow(tx *meta.Tx, from *Snapshotter, there meta.Snapshot, parent string) (string, error) {
	row := meta.Snapshot{
		Name: there.Name, Layer: string(from.lentLayer(there)), Store: from.id, Origin: there.Name, Parent: parent,
		Kind: meta.Committed, State: meta.Ready, Labels: lentLabels(there.Labels), Created: there.Created, Updated: now(),
	}
	other := fmt.Sprint(borrowedPrefix, from.id, "/", there.Layer)
	if strings.HasPrefix(row.Name, scopeMark) { // it must not show up in a scope of ours
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

// holdsSame reports whether a snapshot that is there holds what a borrowed one
// would.
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

// lentLabels are the labels of a snapshot that mean something in another store,
// too.
func lentLabels(labels map[string]string) map[string]string {
	labels = maps.Clone(labels)
	for _, label := range append(fixedLabels(), LabelForeign) {
		delete(labels, label)
	}
	return labels
}
