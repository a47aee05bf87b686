package meta

import (
	"errors"
	"fmt"

	"go.etcd.io/bbolt"
)

// Check looks at every page of the database: whether each is used once, or
// free, and keys are in order. It calls found for each fault. That takes a
// moment for each page, in which nothing is written: the library compares pages
// with a list of free ones that each transaction changes.
func (db *DB) Check(found func(error)) error {
	var faults []error
	err := db.check(func(err error) { faults = append(faults, err) })
	for _, fault := range faults { // when others can write again
		found(fault)
	}
	return err
}

func (db *DB) check(found func(error)) error {
	db.writing.Lock()
	defer db.writing.Unlock()
	// The library's own check reads pages in a goroutine of its own, in which a
	// page that is not as it should be would end the process.
	if err := db.look(); errors.Is(err, ErrDamaged) {
		found(err)
		return nil
	} else if err != nil {
		return err
	}
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

// look looks at every page and row where a mark has kept opening from it.
func (db *DB) look() error {
	return db.run(func() error { return db.rescan(errSuspect) })
}
