package snapshotter

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/containerd/v2/core/snapshots"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

// DefaultLockTimeout is how long [Open] waits for another process to close the
// store, unless [Options] say otherwise.
const DefaultLockTimeout = 5 * time.Second

// Options tune [Open]. The zero value opens a store with its own driver, or
// makes a new one with the best driver that works on its root.
type Options struct {
	// Driver names the driver. Empty means the store's own, and for a new store
	// the first of driver/all that works. Naming another driver than the store's
	// gives ErrOtherDriver.
	Driver string
	// DriverOptions are handed to the driver. A nil Logger there means Logger.
	DriverOptions driver.Options
	// ReadOnly opens the store for reading alone: nothing below its root changes, not
	// even a time, except access times. The store has to exist. Open chooses this by
	// itself, and logs a warning, when the file system says that it is read-only
	// (EROFS). What an interrupted call left is not cleaned up then, and not shown.
	// Methods that change something return ErrReadOnly. Several processes can have a
	// store open for reading; as long as one has, nobody gets it for writing.
	ReadOnly bool
	// Additional are the roots of up to MaxAdditional other stores of the same driver,
	// which are opened for reading alone. A committed snapshot that this store lacks is
	// taken from the first of them that has it, without a copy: as a parent, and to be
	// read. Which they are is recorded nowhere. What stands on a snapshot of one that is
	// not given, or that cannot be opened now, gives ErrElsewhere until it is given again.
	// Returns ErrReadOnly when this store is open for reading alone.
	Additional []string
	// LockTimeout is how long to wait for another process to close the store.
	// Zero means DefaultLockTimeout, a negative value not to wait at all.
	LockTimeout time.Duration
	// Logger receives what recovery and background work have to say; nil
	// discards it.
	Logger *slog.Logger
	// DigestLimit is how large a layer may be, in bytes, for a commit to read it once
	// more for a digest of it: zero means DefaultDigestLimit, a negative value none.
	DigestLimit int64
	// Observer is told of every call; nil: nobody.
	Observer Observer
	// Address is where the process that opens the store answers for it, a unix
	// socket; whom the lock keeps out finds it there, see [Holder].
	Address string

	// restoring: layers that no row names are expected.
	restoring bool
	// locked is the lock of the store where the caller has it already.
	locked *storeLock
	// open makes the driver; nil takes it from driver/all. For tests.
	open openDriver
	// hook is called before and after every metadata transaction. For tests.
	hook func(point string) error
}

// Snapshotter is an open store. It is safe for concurrent use: calls on one
// snapshot run one after the other, except that reading ones run side by side;
// calls on different snapshots do not wait for each other.
type Snapshotter struct {
	root string
	id   string // of the store; empty when there was no room for one
	// readOnly: nothing in the store may change.
	readOnly bool
	log      *slog.Logger
	db       *meta.DB
	driver   driver.Driver
	// others are the additional stores, in the order in which they are asked.
	others []*Snapshotter
	lock   *storeLock // nil where there is none to take, see lockForReading
	hook   func(point string) error
	// digestLimit is Options.DigestLimit, -1 for no digests.
	digestLimit int64
	// observer is told of calls; nil: nobody.
	observer Observer
	// sources read layers once more, by scope.
	sources sources
	keys    keyLocks
	chains  chains
	streams streams
	// heals are layers that wait for those below to be made anew.
	heals heals
	// sweeping is held by whoever removes what was put aside.
	sweeping sync.Mutex
	// unnamed are layers that no row named when the store was opened.
	unnamed []driver.ID
	// sound: rows and layers were seen to agree, and do since; tidy: nothing is left over
	// that the driver does not know of; see undisturbed.
	sound, tidy atomic.Bool
	// inOrder: see OpenedInOrder.
	inOrder bool
	bg      background
	calls   calls
}

var (
	_ snapshots.Snapshotter = (*Snapshotter)(nil)
	_ snapshots.Cleaner     = (*Snapshotter)(nil)
)

// Root returns the store's directory, absolute and with symbolic links
// resolved. What other packages keep in it lies in directories of their own,
// such as "content".
func (s *Snapshotter) Root() string { return s.root }

// ReadOnly reports whether the store is open for reading alone, because [Options] said
// so or because its file system is read-only.
func (s *Snapshotter) ReadOnly() bool { return s.readOnly }

// Driver returns the store's driver. Layers belong to the snapshotter: callers
// ask it for facts, and never create, change or remove layers through it.
func (s *Snapshotter) Driver() driver.Driver { return s.driver }

// DB returns the store's metadata, for the records of other packages. Snapshot
// rows belong to the snapshotter: callers only read them.
func (s *Snapshotter) DB() *meta.DB { return s.db }
