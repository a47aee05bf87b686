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

// reserveParts is the number of files of the reserve. They are removed one at a
// time, because another process may take the space that is freed before the
// next removal.
const reserveParts = 4

// ReservePaths returns the files of the reserve of a database. A removal writes
// rows, so without a reserve nothing could be removed on a full disk. These
// files beside the database keep space for that, and are removed when it is
// needed.
func ReservePaths(database string) []string {
	paths := []string{database + ".reserve"}
	for i := 2; i <= reserveParts; i++ {
		paths = append(paths, paths[0]+strconv.Itoa(i))
	}
	return paths
}

// Free is [DB.Update] for a transaction that frees space. On a full disk it
// uses the reserve, and calls fn again.
func (db *DB) Free(fn func(*Tx) error) error {
	return db.Roomy(func() error { return db.Update(fn) })
}

// Roomy runs fn. When fn fails on a full disk, Roomy removes files of the
// reserve and runs fn again, see [WithReserve].
func (db *DB) Roomy(fn func() error) error {
	if db.readOnly {
		return fn()
	}
	return WithReserve(db.path, &db.reserving, fn)
}

// WithReserve runs fn. While fn fails because the disk is full, WithReserve
// removes the next file of the reserve and runs fn again. It runs fn again at
// least once, also without a reserve, because another call may have removed a
// file a moment ago. It returns the error of the last run. lock is locked while
// a file is removed.
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

// Reserve makes the missing files of the reserve again. It returns nil when the
// disk has no room for them.
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
