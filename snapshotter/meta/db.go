package meta

import (
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"
)

// Version is the version of the schema that this package writes.
const Version = 1

// Errors of this package, wrapped with what they are about.
var (
	// ErrNotFound: there is no such snapshot or record.
	ErrNotFound = errors.New("not found")
	// ErrExists: there is a snapshot with this name already.
	ErrExists = errors.New("exists already")
	// ErrHasChildren: the snapshot is the parent of others.
	ErrHasChildren = errors.New("has children")
	// ErrInvalidName: the name is empty, too long or not UTF-8.
	ErrInvalidName = errors.New("invalid name")
	// ErrNewer: the database was written by a newer version.
	ErrNewer = errors.New("database is of a newer version")
	// ErrInUse: another process has the database open.
	ErrInUse = errors.New("database is in use")
	// ErrDamaged: the file is no database, or none of ours.
	ErrDamaged = errors.New("database is damaged")
)

// The schema. All keys of one level:
//
//	store      "version" -> uint64, big endian
//	snapshots  NAME -> JSON of Snapshot; the bucket's sequence gives the IDs
//	children   parent ID, child ID (both uint64, big endian) -> name of the child
//	records    KIND -> bucket of NAME -> JSON
var (
	bucketStore     = []byte("store")
	bucketSnapshots = []byte("snapshots")
	bucketChildren  = []byte("children")
	bucketRecords   = []byte("records")
	keyVersion      = []byte("version")
)

// openTimeout bounds the wait for bbolt's own lock. The store's lock is taken
// before, so somebody else holding this one is no ordinary contention.
const openTimeout = time.Second

// DB is an open database. It is safe for concurrent use.
type DB struct {
	bolt *bbolt.DB
}

// Open opens the database at path and makes it, with mode 0600, when it is
// missing. Returns ErrNewer for a schema it does not know, ErrInUse when another
// process has it open and ErrDamaged for what is no database of ours.
func Open(path string) (*DB, error) {
	b, err := bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout:      openTimeout,
		FreelistType: bbolt.FreelistMapType,
	})
	var system syscall.Errno
	switch {
	case errors.Is(err, bbolterrors.ErrTimeout):
		err = ErrInUse
	case err != nil && !errors.As(err, &system):
		// Not all of what bbolt says of a file that is none of its has a sentinel.
		err = fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if err != nil {
		return nil, fmt.Errorf("open metadata %s: %w", path, err)
	}
	if err := prepare(b); err != nil {
		return nil, errors.Join(fmt.Errorf("open metadata %s: %w", path, err), b.Close())
	}
	return &DB{bolt: b}, nil
}

// prepare checks the version, and writes the schema into a new database. An
// existing one is only read, so that opening a store costs no sync.
func prepare(b *bbolt.DB) error {
	var version uint64
	err := b.View(func(tx *bbolt.Tx) error {
		if store := tx.Bucket(bucketStore); store != nil {
			raw := store.Get(keyVersion)
			if len(raw) != 8 {
				return fmt.Errorf("%w: its version is unreadable", ErrDamaged)
			}
			version = binary.BigEndian.Uint64(raw)
		}
		return nil
	})
	switch {
	case err != nil:
		return err
	case version > Version:
		return fmt.Errorf("%w: %d, this program knows %d", ErrNewer, version, Version)
	case version == Version:
		return nil
	}
	return b.Update(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{bucketStore, bucketSnapshots, bucketChildren, bucketRecords} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		return tx.Bucket(bucketStore).Put(keyVersion, binary.BigEndian.AppendUint64(nil, Version))
	})
}

// Close waits for running transactions and closes the database. Idempotent.
func (db *DB) Close() error { return db.bolt.Close() }

// View runs fn in a read-only transaction: one moment of the database.
func (db *DB) View(fn func(*Tx) error) error {
	return db.bolt.View(func(b *bbolt.Tx) error { return fn(&Tx{b}) })
}

// Update runs fn in the only writing transaction. When fn returns an error, or
// the database cannot be written, nothing of it has happened.
func (db *DB) Update(fn func(*Tx) error) error {
	return db.bolt.Update(func(b *bbolt.Tx) error { return fn(&Tx{b}) })
}

// A Tx is one transaction. It must not be used after the function it was given
// to has returned.
type Tx struct {
	bolt *bbolt.Tx
}
