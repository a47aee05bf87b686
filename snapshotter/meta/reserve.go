package meta

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"sync"

	"github.com/layerkeep/layerkeep/internal/durable"
)

// reserveParts is how many files the reserve is in. They are given up one by
// one: what is freed, somebody else may take before the next removal.
const reserveParts = 4

// ReservePaths returns the files of the reserve of a database. On a full disk
// nothing could be removed, as a removal writes rows as well. So these files
// beside the database hold room for that, and are given up when it is needed.
func ReservePaths(database string) []string {
	paths := []string{database + ".reserve"}
	for i := 2; i <= reserveParts; i++ {
		paths = append(paths, paths[0]+strconv.Itoa(i))
	}
	return paths
}

// Free is [DB.Update] for a transaction that serves to free space: it may use
// what is kept back for that. fn is called again then.
func (db *DB) Free(fn func(*Tx) error) error {
	return db.Roomy(func() error { return db.Update(fn) })
}

// Roomy runs fn, and again when it fails for want of space and there is, or was
// a moment ago, a reserve to give up.
func (db *DB) Roomy(fn func() error) error {
	if db.readOnly {
		return fn()
	}
	return WithReserve(db.path, &db.reserving, fn)
}

// WithReserve runs fn. As long as it fails for want of space it gives up the
// reserve of a database, one part after the other, and runs fn again, at least
// once: somebody else may have given the reserve up a moment ago. It returns
// what fn returned the last time. lock is held while a part is removed.
func WithReserve(database string, lock sync.Locker, fn func() error) error {
	err := fn()
	for i, path := range ReservePaths(database) {
		if !durable.NoRoom(err) {
			return err
		}
		lock.Lock()
		gone := os.Remove(path)
		lock.Unlock()
		if gone != nil && !errors.Is(gone, fs.ErrNotExist) {
			return err
		}
		if i == 0 || gone == nil {
			err = fn()
		}
	}
	return err
}

// Reserve keeps room for [DB.Free] again where it was used and there is any,
// and says nothing where there is none.
func (db *DB) Reserve() error {
	if db.readOnly {
		return ErrReadOnly
	}
	db.reserving.Lock()
	defer db.reserving.Unlock()
	for _, path := range ReservePaths(db.path) {
		err := allocate(path)
		if errors.Is(err, errors.ErrUnsupported) {
			return nil
		}
		if err == nil {
			continue
		}
		err = errors.Join(err, os.Remove(path))
		if durable.NoRoom(err) {
			return nil
		}
		return fmt.Errorf("reserve of the metadata: %w", err)
	}
	return nil
}
