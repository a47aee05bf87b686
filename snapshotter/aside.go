package snapshotter

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

// asidePrefix begins the names of rows in the state [meta.Aside]. No scope has
// this name.
const asidePrefix = "@/removed/"

func isAside(name string) bool { return strings.HasPrefix(name, asidePrefix) }

// moveAside gives the row of a removed snapshot a reserved name, and removes
// its labels, because other packages act on labels. Mounts of the snapshot also
// use the layers of its parents, so the row stays as their child.
func moveAside(tx *meta.Tx, row *meta.Snapshot) error {
	old := row.Name
	row.Name = fmt.Sprint(asidePrefix, row.ID)
	row.State, row.Labels = meta.Aside, nil
	return tx.RenameSnapshot(old, *row)
}

// putAside is moveAside in a transaction of its own. After an error *row is
// unchanged.
func (s *Snapshotter) putAside(row *meta.Snapshot) error {
	var moved meta.Snapshot
	err := s.free("put aside", func(tx *meta.Tx) error {
		moved = *row
		return moveAside(tx, &moved)
	})
	if err == nil {
		*row = moved
	}
	return err
}

// sweep removes the layers of snapshots that were put aside and are no longer
// in use. What is still in use, or cannot be removed, stays until the next
// call.
func (s *Snapshotter) sweep(ctx context.Context) {
	s.sweeping.Lock()
	defer s.sweeping.Unlock()
	for again := true; again && ctx.Err() == nil; {
		idle, err := s.tops()
		if err != nil {
			s.log.WarnContext(ctx, "look for removed snapshots that are idle", "error", err)
			return
		}
		again = false
		for _, row := range idle {
			// Its parent may have no other child, and can then be removed too.
			again = s.sweepOne(ctx, row) && row.Parent != "" || again
		}
	}
}

// tops returns the rows that were put aside and have no children.
func (s *Snapshotter) tops() (rows []meta.Snapshot, err error) {
	err = s.view(func(tx *meta.Tx) error {
		return tx.WalkSnapshotsFrom(asidePrefix, func(row meta.Snapshot) error {
			if row.State == meta.Aside && len(tx.Children(row)) == 0 {
				rows = append(rows, row)
			}
			return nil
		})
	})
	return rows, err
}

// sweepOne reports whether the snapshot is gone.
func (s *Snapshotter) sweepOne(ctx context.Context, row meta.Snapshot) bool {
	err := s.removeLayer(ctx, row)
	if errors.Is(err, driver.ErrBusy) {
		return false
	}
	if err == nil {
		err = s.free("sweep", func(tx *meta.Tx) error { return tx.DeleteSnapshot(row.Name) })
	}
	if err != nil {
		s.log.WarnContext(ctx, "layer of a removed snapshot stays for now", "layer", row.Layer, "error", err)
	}
	return err == nil
}
