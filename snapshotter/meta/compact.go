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
	// compactedName is the name of a copy until it is complete. Opening the
	// database removes a file of this name, which a killed process has left.
	compactedName = durable.TempPrefix + "compacted"
	// Compact copies the file when this many bytes are free and more bytes are free
	// than in use. Each transaction writes the list of free pages, with eight bytes
	// for each, and the next opening reads it. The copy has fewer pages than were
	// freed, so it costs no more than freeing them did.
	compactFrom = 4 << 20
	// compactStep is the largest size of one transaction of the copy, in bytes.
	compactStep = 1 << 20
)

// Compact replaces the file by a smaller copy when more than half of it, and at
// least compactFrom, is free. It reports whether it did. The disk needs room
// for the copy. No transaction runs during the copy; when one is running,
// Compact does nothing. The copy is complete and on disk before one rename puts
// it in the position of the file. So a crash leaves one of the two, and both
// have the same content.
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
		free, size := int64(s.FreePageN+s.PendingPageN)*db.guard.size, int64(db.guard.end())*db.guard.size //nolint:gosec // the size of a file
		if free < compactFrom || 2*free <= size {
			return nil
		}
		if err := db.rescan(errSuspect); err != nil { // so that damage is not copied
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

// replace makes a copy and puts it in the position of the file.
func (db *DB) replace() (err error) {
	made := compactedPath(db.path)
	if err := ignoreMissing(os.Remove(made)); err != nil { // left by a killed process
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
		// After a power cut either the old file or the copy may be there. So nothing
		// may be written to the copy.
		err = fmt.Errorf("%w: %w", errBroken, err)
		db.broken.Store(&err)
		return err
	}
	return errors.Join(old.Close(), oldGuard.Close())
}

// copyTo writes all rows to a new database. Its generation continues that of
// the old one.
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
