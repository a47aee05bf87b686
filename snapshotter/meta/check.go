package meta

import (
	"errors"
	"fmt"

	"go.etcd.io/bbolt"
)

// Check looks at every page of the database. It checks that each page is used
// once or is free, and that keys are in order. It calls found for each fault.
// While Check runs, no transaction can write, because the library compares
// pages with a list of free pages that each transaction changes.
func (db *DB) Check(found func(error)) error {
	var faults []error
	err := db.check(func(err error) { faults = append(faults, err) })
	for _, fault := range faults { // not before others can write again
		found(fault)
	}
	return err
}

func (db *DB) check(found func(error)) error {
	db.writing.Lock()
	defer db.writing.Unlock()
	// The library's own check reads pages in its own goroutine, where a damaged
	// page would end the process. So first look at all pages here.
	if err := db.look(); errors.Is(err, ErrDamaged) {
		found(err)
		return nil
	} else if err != nil {
		return err
	}
	return db.run(func() error {
		return db.bolt.View(func(tx *bbolt.Tx) error {
			// Read to the end, also when there are many faults: the goroutine of the
			// library reads the pages until then.
			for err := range tx.Check() {
				found(fmt.Errorf("%w: %w", ErrDamaged, err))
			}
			return nil
		})
	})
}

// look looks at every page and row, when opening did not because of a mark.
func (db *DB) look() error {
	return db.run(func() error { return db.rescan(errSuspect) })
}
