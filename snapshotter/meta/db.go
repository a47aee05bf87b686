package meta

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"

	"github.com/layerkeep/layerkeep/internal/ownfiles"
)

// Version is the version of the schema that this package writes.
// VersionBorrowed is the version of a database while it has rows whose layers
// are in other stores. A program that does not know such rows refuses this
// version.
const (
	Version         = 1
	VersionBorrowed = 2
)

// Errors of this package, wrapped with what they are about.
var (
	// ErrNotFound: there is no such snapshot or record.
	ErrNotFound = errors.New("not found")
	// ErrExists: a snapshot with this name already exists.
	ErrExists = errors.New("already exists")
	// ErrHasChildren: the snapshot is the parent of others.
	ErrHasChildren = errors.New("has children")
	// ErrInvalidName: the name is empty, too long or not UTF-8.
	ErrInvalidName = errors.New("invalid name")
	// ErrNewer: the database was written by a newer version.
	ErrNewer = errors.New("database is of a newer version")
	// ErrInUse: another process has the database open.
	ErrInUse = errors.New("database is in use")
	// ErrDamaged: the file is not a database, or not one of this package.
	ErrDamaged = errors.New("database is damaged")
	// ErrReadOnly: the database was opened with [OpenReadOnly]. Matches
	// syscall.EROFS.
	ErrReadOnly = fmt.Errorf("database is open for reading alone: %w", syscall.EROFS)
)

// The schema. All keys of one level:
//
//	store      "version" -> uint64, big endian
//	           "borrowed" -> number of rows that have a Store, in the same form
//	           "id" -> ID of the store
//	           "generation" -> number to add to that of a transaction, in the
//	           same form, see Tx.Generation
//	snapshots  NAME -> JSON of Snapshot; the bucket's sequence gives the IDs
//	children   parent ID, child ID (both uint64, big endian) -> name of the child
//	records    KIND -> bucket of NAME -> JSON
//
// JSON objects end with a checksum, see addSum.
var (
	bucketStore     = []byte("store")
	bucketSnapshots = []byte("snapshots")
	bucketChildren  = []byte("children")
	bucketRecords   = []byte("records")
	keyVersion      = []byte("version")

	buckets = [][]byte{bucketStore, bucketSnapshots, bucketChildren, bucketRecords}
)

// openTimeout is the longest wait for bbolt's own lock. The caller has the lock
// of the store already, so no other process should have this one.
const openTimeout = time.Second

// DB is an open database. It is safe for concurrent use.
type DB struct {
	path     string
	readOnly bool
	// swap is locked for reading while bolt and guard are used, see [DB.Compact].
	swap sync.RWMutex
	bolt *bbolt.DB
	// reserving is locked while files of the reserve are made or removed.
	reserving sync.Mutex
	// broken is set when the library has panicked.
	broken atomic.Pointer[error]
	// writing is locked by Update until the guard knows what was written.
	writing sync.Mutex
	guard   *pageGuard
	// stamp is the argument of Settle, and nil before Settle.
	stamp *string
	// unfinished is the result of [DB.Unfinished].
	unfinished atomic.Int64
}

// Create is [Open], but makes the database, with mode 0600, when it is missing
// or has nothing in it yet, not even a version.
func Create(path string) (*DB, error) { return open(path, access{create: true}) }

// Open opens the database at path. It returns an error matching
// io/fs.ErrNotExist when there is none, ErrNewer for a schema that it does not
// know, ErrInUse when another process has it open, and ErrDamaged for a file
// that is not a database of this package or is not complete. After an error the
// file is as before.
func Open(path string) (*DB, error) { return open(path, access{}) }

// OpenReadOnly is [Open] for reading only. It needs no permission to write, and
// changes nothing in the file. Several processes can open the database in this
// way; while one has it open, Open returns ErrInUse. [DB.Update] returns
// ErrReadOnly.
func OpenReadOnly(path string) (*DB, error) { return open(path, access{readOnly: true}) }

// An access says how a database is opened.
type access struct {
	create, readOnly bool
}

func open(path string, how access) (*DB, error) {
	var b *bbolt.DB
	var g *pageGuard
	err := guard(func() (err error) {
		fresh, err := checkFile(path, how.create)
		if err == nil && !fresh {
			g, err = newPageGuard(path)
		}
		if err != nil {
			return err
		}
		b, err = openBolt(path, how.readOnly)
		return err
	})
	if err == nil {
		err = guard(func() error { return prepare(b, how.create) })
	}
	if err == nil {
		g, err = guardOpened(path, g)
	}
	if err != nil {
		err = errors.Join(err, g.Close())
		if b != nil && !errors.Is(err, errBroken) {
			err = errors.Join(err, b.Close())
		}
		return nil, fmt.Errorf("open metadata %s: %w", path, err)
	}
	if !how.readOnly {
		// The rows of the copy are all in the file. When it cannot be removed it only
		// takes space.
		_ = os.Remove(compactedPath(path))
	}
	return &DB{path: path, readOnly: how.readOnly, bolt: b, guard: g}, nil
}

// guardOpened returns the guard of a file that the library has opened. It is a
// new one when the file was just made, and when opening it has written a list
// of free pages.
func guardOpened(path string, g *pageGuard) (*pageGuard, error) {
	if g != nil {
		if m, err := g.now(); err == nil && m.txid == g.state.txid {
			return g, nil
		}
		if err := g.Close(); err != nil {
			return nil, err
		}
	}
	return newPageGuard(path)
}

// checkFile returns an error for a file that the library would take for a new
// database, unless create is set. fresh reports whether a new database is to be
// made.
func checkFile(path string, create bool) (fresh bool, err error) {
	info, err := os.Lstat(path) // opening refuses what is not a regular file
	switch {
	case create && (errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0):
		return true, nil
	case err != nil:
		return false, err
	case info.Size() == 0:
		return false, fmt.Errorf("%w: it is empty", ErrDamaged)
	}
	return false, nil
}

func openBolt(path string, readOnly bool) (*bbolt.DB, error) {
	b, err := bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout:      openTimeout,
		FreelistType: bbolt.FreelistMapType,
		ReadOnly:     readOnly,
		OpenFile:     ownfiles.OpenFile,
	})
	var system syscall.Errno
	switch {
	case errors.Is(err, bbolterrors.ErrTimeout):
		err = ErrInUse
	case err != nil && !errors.As(err, &system) && !errors.Is(err, ownfiles.ErrUnsafe):
		// Some errors of bbolt for a file that is not a database have no sentinel.
		err = fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return b, err
}

// prepare checks the version of an existing database, and writes the schema
// into a new one. It does not write to an existing one, so opening a store
// costs no sync.
func prepare(b *bbolt.DB, create bool) error {
	fresh := false
	err := b.View(func(tx *bbolt.Tx) error {
		if fresh = tx.Bucket(bucketStore) == nil; fresh {
			if !create {
				return fmt.Errorf("%w: it has no version", ErrDamaged)
			}
			return nil
		}
		return checkSchema(tx)
	})
	if err != nil || !fresh {
		return err
	}
	return b.Update(func(tx *bbolt.Tx) error {
		for _, name := range buckets {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		return tx.Bucket(bucketStore).Put(keyVersion, binary.BigEndian.AppendUint64(nil, Version))
	})
}

func checkSchema(tx *bbolt.Tx) error {
	raw := tx.Bucket(bucketStore).Get(keyVersion)
	if len(raw) != 8 {
		return fmt.Errorf("%w: its version is unreadable", ErrDamaged)
	}
	if version := binary.BigEndian.Uint64(raw); version != Version && version != VersionBorrowed {
		if version < Version {
			return fmt.Errorf("%w: there never was a version %d", ErrDamaged, version)
		}
		return fmt.Errorf("%w: %d, this program knows %d", ErrNewer, version, VersionBorrowed)
	}
	for _, name := range buckets {
		if tx.Bucket(name) == nil {
			return fmt.Errorf("%w: it has no %s", ErrDamaged, name)
		}
	}
	return nil
}

// Close waits for running transactions and closes the database. Idempotent.
func (db *DB) Close() error {
	if db.broken.Load() != nil {
		return nil // it would wait for ever
	}
	err := db.bolt.Close()
	if err == nil && db.stamp != nil && !db.readOnly {
		// Without the mark the next opening looks at all pages, which only takes time.
		_ = db.guard.leave(*db.stamp)
	}
	db.stamp = nil
	return errors.Join(err, ignoreClosed(db.guard.Close()))
}

func ignoreClosed(err error) error {
	if errors.Is(err, fs.ErrClosed) {
		return nil
	}
	return err
}

// View runs fn in a read-only transaction, which shows the database at one
// moment. Like Update, it returns ErrDamaged when it finds that the file is
// damaged.
func (db *DB) View(fn func(*Tx) error) error {
	return db.run(func() error {
		return db.bolt.View(func(b *bbolt.Tx) error { return fn(&Tx{bolt: b, db: db}) })
	})
}

// Update runs fn in a writing transaction. Only one runs at a time. When fn
// returns an error, or the database cannot be written, the database does not
// change.
func (db *DB) Update(fn func(*Tx) error) error {
	if db.readOnly {
		return ErrReadOnly
	}
	return db.run(func() (err error) {
		db.writing.Lock()
		defer db.writing.Unlock()
		tx := &Tx{db: db}
		err = withErrno(db.bolt.Update(func(b *bbolt.Tx) error {
			tx.bolt = b
			if err := fn(tx); err != nil {
				return err
			}
			return tx.countBorrowed()
		}))
		db.guard.committed(err)
		if err == nil {
			db.unfinished.Add(tx.unfinished)
		}
		return err
	})
}

// run calls the library, unless the library has panicked before.
func (db *DB) run(call func() error) error {
	db.swap.RLock()
	defer db.swap.RUnlock()
	return db.runLocked(call)
}

func (db *DB) runLocked(call func() error) error {
	if broken := db.broken.Load(); broken != nil {
		return *broken
	}
	err := guard(func() error { return catchDamage(call) })
	if errors.Is(err, errBroken) {
		db.broken.Store(&err)
	}
	return err
}

// withErrno adds the errno of a full disk to an error of the library. When the
// library cannot make the file longer, its error has only the text of the
// errno.
func withErrno(err error) error {
	if err == nil {
		return nil
	}
	for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT} {
		if !errors.Is(err, errno) && strings.HasSuffix(err.Error(), ": "+errno.Error()) {
			return fmt.Errorf("%w (%w)", err, errno)
		}
	}
	return err
}

// A Tx is one transaction. It must not be used after the function that it was
// given to has returned.
type Tx struct {
	bolt *bbolt.Tx
	db   *DB
	// unfinished is the number of unfinished rows that this transaction has added,
	// less those that it has removed. borrowed is the same for rows that have a
	// Store.
	unfinished, borrowed int64
}
