package snapshotter

import (
	"context"
	"crypto/rand"
	"fmt"

	"github.com/layerkeep/layerkeep/internal/durable"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

// identify sets head.ID to the ID of the store, which header, database and
// records of layers have. A store of an earlier version gets an ID now. On a
// full disk it gets one at a later opening.
func (s *Snapshotter) identify(ctx context.Context, head *header) error {
	if err := s.recognize(ctx, head); err != nil {
		return err
	}
	var known string
	err := s.view(func(tx *meta.Tx) error {
		known = tx.Store()
		return nil
	})
	if err != nil || known != "" {
		return err
	}
	if head.ID == "" {
		head.ID = rand.Text()
	}
	err = s.update("identify", func(tx *meta.Tx) error { return tx.SetStore(head.ID) })
	if durable.NoRoom(err) {
		s.log.InfoContext(ctx, "no room for the ID of the store", "error", err)
		head.ID = ""
		return nil
	}
	return err
}

// otherStore is an ErrDamaged: header and database have the IDs of different
// stores.
type otherStore struct{ header, database string }

func (o *otherStore) Error() string {
	return fmt.Sprintf("%v: %s is of the store %s, and %s of the store %s: one of them was copied from there",
		ErrDamaged, headerName, o.header, metaName, o.database)
}

func (o *otherStore) Unwrap() error { return ErrDamaged }

// recognize compares the header with the database, and sets ID and Generation
// of head to those of the database. It changes nothing on disk.
func (s *Snapshotter) recognize(ctx context.Context, head *header) error {
	var known string
	var generation uint64
	err := s.view(func(tx *meta.Tx) (err error) {
		known = tx.Store()
		generation, err = tx.Generation()
		return err
	})
	if err != nil {
		return err
	}
	if head.ID != "" && known != "" && head.ID != known {
		return &otherStore{header: head.ID, database: known}
	}
	if head.Generation > generation {
		s.log.WarnContext(ctx, "the database is older than this store, such as a copy that was put back: snapshots may be missing in it",
			"generation", generation, "store", head.Generation)
	}
	head.Generation = generation
	if known != "" {
		head.ID = known
	}
	return nil
}
