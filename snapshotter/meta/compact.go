package meta

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"

	"github.com/layerkeep/layerkeep/internal/durable"
	"github.com/layerkeep/layerkeep/internal/ownfiles"
)

const (
	// compactedName is a database that is being made. It is nobody's when a store
	// is opened.
	compactedName = durable.TempPrefix + "compacted"
	// A file is made anew when this many bytes of it are free, and more than the
	// rest. Each transaction writes the list of free pages, eight bytes for each,
	// and the next opening reads it. Since more pages were freed than are copied,
	// copying costs no more than freeing them did.
	compactFrom = 4 << 20
	// compactStep bounds a transaction of the copy, in bytes.
	compactStep = 1 << 20
)

// Compact makes the file anew where more than half of it is free, and reports
// whether it did. That takes room for the copy, and nothing runs beside it:
// where a transaction is running it does nothing. The copy is complete and on
// disk before it takes the place of the file with one rename, so a crash leaves
// one of the two, which hold the same.
func (db *DB) Compact() (done bool, err error) {
	if db.readOnly {
		return false, ErrReadOnly
	}
	if !db.swap.TryLock() {
		return false, nil
	}
	defer db.swap.Unlock()
	err = db.runLocked(func() error {
		s := db.bolt.Stats()
		free, size := int64(s.FreePageN+s.PendingPageN)*db.guard.size, int64(db.guard.end())*db.guard.size //nolint:gosec // a file's size
		if free < compactFrom || 2*free <= size {
			return nil
		}
		if err := db.rescan(errSuspect); err != nil { // damage is not copied
			return err
		}
		done = true
		return db.replace()
	})
	if err != nil {
		return false, fmt.Errorf("compact metadata %s: %w", db.path, err)
	}
	return done, nil
}

func compactedPath(path string) string { return filepath.Join(filepath.Dir(path), compactedName) }

// replace puts a copy in the place of the file.
func (db *DB) replace() (err error) {
	made := compactedPath(db.path)
	if err := ignoreMissing(os.Remove(made)); err != nil { // of a try that was killed
		return err
	}
	placed := false
	defer func() {
		if !placed {
			err = errors.Join(err, ignoreMissing(os.Remove(made)))
		}
	}()
	if err := db.copyTo(made); err != nil {
		return withErrno(err)
	}
	g, err := newPageGuard(made) // looks at every page of the copy
	if err != nil {
		return err
	}
	b, err := openBolt(made, false)
	if err == nil {
		if err = os.Rename(made, db.path); err != nil {
			err = errors.Join(err, b.Close())
		}
	}
	if err != nil {
		return errors.Join(err, g.Close())
	}
	placed = true
	g.path = db.path
	old, oldGuard := db.bolt, db.guard
	db.bolt, db.guard = b, g
	if err := durable.OS().SyncDir(filepath.Dir(db.path)); err != nil {
		// Whether it is the copy that is found after a power cut is not known, so
		// nothing may be written to it.
		err = fmt.Errorf("%w: %w", errBroken, err)
		db.broken.Store(&err)
		return err
	}
	return errors.Join(old.Close(), oldGuard.Close())
}

// copyTo writes all rows to a new database, whose generation goes on from that
// of the old one.
func (db *DB) copyTo(path string) error {
	to, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: openTimeout, FreelistType: bbolt.FreelistMapType, NoSync: true, OpenFile: ownfiles.OpenFile})
	if err != nil {
		return err
	}
	err = bbolt.Compact(to, db.bolt, compactStep)
	var generation uint64
	if err == nil {
		err = db.bolt.View(func(b *bbolt.Tx) (err error) {
			generation, err = (&Tx{bolt: b}).Generation()
			return err
		})
	}
	if err == nil {
		err = to.Update(func(b *bbolt.Tx) error { return (&Tx{bolt: b}).RaiseGeneration(generation + 1) })
	}
	if err == nil {
		err = to.Sync()
	}
	return errors.Join(err, to.Close())
}
