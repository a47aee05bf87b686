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
// store, unless Options.LockTimeout is set.
const DefaultLockTimeout = 5 * time.Second

// Options tune [Open]. The zero value opens an existing store with its own
// driver, and makes a new store with the best driver that works on its root.
type Options struct {
	// Driver is the name of the driver. Empty means the driver of the store, and
	// for a new store the first driver of driver/all that works. Open returns
	// ErrOtherDriver when the store has another driver.
	Driver string
	// DriverOptions are given to the driver. A nil Logger in them means Logger.
	DriverOptions driver.Options
	// ReadOnly opens an existing store for reading only. Nothing below its root
	// changes, not even a time, except access times. Methods that change
	// something return ErrReadOnly. Open does not clean up after interrupted
	// calls, and does not show what they left.
	//
	// Several processes can have a store open for reading. While one has, no
	// process can open it for writing. Open sets this option by itself, and
	// logs a warning, when the file system says that it is read-only (EROFS).
	ReadOnly bool
	// Additional are the roots of up to MaxAdditional other stores of the same
	// driver. They are opened for reading only. A committed snapshot that this
	// store lacks comes from the first additional store that has it, without a
	// copy: it can be a parent, and it can be read.
	//
	// The list is not recorded anywhere. When a store of an earlier list is
	// missing, or cannot be opened, snapshots over its snapshots give ErrElsewhere
	// until it is given again. With ReadOnly this store still uses the snapshots
	// that it has borrowed before, and borrows no more.
	Additional []string
	// LockTimeout is how long to wait for another process to close the store.
	// Zero means DefaultLockTimeout; a negative value means not to wait.
	LockTimeout time.Duration
	// Logger receives messages of recovery and of work in the background; nil
	// discards them.
	Logger *slog.Logger
	// DigestLimit is the size of a layer, in bytes, up to which a commit reads
	// the layer again to record a digest of it. Zero means DefaultDigestLimit;
	// a negative value means no digest.
	DigestLimit int64
	// Observer is called after every call. It can be nil.
	Observer Observer
	// Address is the unix socket on which this process serves the store.
	// Processes that find the store locked read it from the lock, see [Holder].
	Address string

	// restoring: Open expects layers that no row names, and does not log them.
	restoring bool
	// locked is the lock of the store when the caller already has it.
	locked *storeLock
	// open opens the driver; nil means to take it from driver/all. For tests.
	open openDriver
	// hook is called before and after every metadata transaction. For tests.
	hook func(point string) error
}

// Snapshotter is an open store. It is safe for concurrent use. Calls on one
// snapshot run one after the other; calls that only read it run at the same
// time. Calls on different snapshots do not wait for each other.
type Snapshotter struct {
	root string
	id   string // ID of the store; empty when the disk had no room for one
	// readOnly: nothing in the store may change.
	readOnly bool
	log      *slog.Logger
	db       *meta.DB
	driver   driver.Driver
	// others are the additional stores, in the order in which they are searched.
	others []*Snapshotter
	lock   *storeLock // nil when there is no lock file to lock, see lockForReading
	hook   func(point string) error
	// digestLimit is Options.DigestLimit, negative for no digests.
	digestLimit int64
	// observer is called after every call, unless it is nil.
	observer Observer
	// sources has the functions that read layers again, by scope.
	sources sources
	keys    keyLocks
	chains  chains
	streams streams
	// heals are layers that wait until the layers below them are repaired.
	heals heals
	// sweeping is held while layers of removed snapshots are removed.
	sweeping sync.Mutex
	// unnamed are layers that no row named when the store was opened.
	unnamed []driver.ID
	// sound: rows and layers were compared and agree, and nothing since then has
	// made them differ. tidy: there are no leftovers on disk, except those that the
	// driver knows of. See undisturbed.
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

// Root returns the directory of the store, absolute and with symbolic links
// resolved. Other packages use their own directories in it, such as "content".
func (s *Snapshotter) Root() string { return s.root }

// ReadOnly reports whether the store is open for reading only, because of
// Options.ReadOnly or a read-only file system.
func (s *Snapshotter) ReadOnly() bool { return s.readOnly }

// Driver returns the driver of the store. Use it only to ask for facts: no
// other package may create, change or remove layers.
func (s *Snapshotter) Driver() driver.Driver { return s.driver }

// DB returns the database of the store, for the records of other packages.
// Other packages must not write rows of snapshots.
func (s *Snapshotter) DB() *meta.DB { return s.db }
