package meta

import (
	"fmt"

	"go.etcd.io/bbolt"
)

// Check looks at every page of the database: whether each is used once, or free, and
// keys are in order. It calls found for each fault. That takes a moment for each page;
// what is written meanwhile is not looked at.
func (db *DB) Check(found func(error)) error {
	return db.run(func() error {
		return db.bolt.View(func(tx *bbolt.Tx) error {
			// To the end, also when there is much to tell: its goroutine reads the pages.
			for err := range tx.Check() {
				found(fmt.Errorf("%w: %w", ErrDamaged, err))
			}
			return nil
		})
	})
}
