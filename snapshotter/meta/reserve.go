package meta

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/layerkeep/layerkeep/internal/durable"
)

// ReserveSuffix follows the path of the database in that of its reserve. On a full
// disk nothing could be removed, as a removal writes rows as well. So a file beside
// the database holds room for that, and is given up when it is needed.
const ReserveSuffix = ".reserve"

// Free is [DB.Update] for a transaction that serves to free space: it may use what is
// kept back for that. fn is called once more then.
func (db *DB) Free(fn func(*Tx) error) error {
	return db.Roomy(func() error { return db.Update(fn) })
}

// Roomy runs fn, and once more when it fails for want of space and there is, or was a
// moment ago, a reserve to give up.
func (db *DB) Roomy(fn func() error) error {
	err := fn()
	if !durable.NoRoom(err) || db.readOnly {
		return err
	}
	db.reserving.Lock()
	gone := os.Remove(db.reserve)
	db.reserving.Unlock()
	if gone != nil && !errors.Is(gone, fs.ErrNotExist) {
		return err
	}
	return fn()
}

// Reserve keeps room for [DB.Free] again where it was used and there is any, and says
// nothing where there is none.
func (db *DB) Reserve() error {
	if db.readOnly {
		return ErrReadOnly
	}
	db.reserving.Lock()
	defer db.reserving.Unlock()
	err := allocate(db.reserve)
	if err == nil || errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	err = errors.Join(err, os.Remove(db.reserve))
	if durable.NoRoom(err) {
		return nil
	}
	return fmt.Errorf("reserve of the metadata: %w", err)
}
