package snapshotter

import "time"

// An Op is what a call does to a store, as [Event] names it.
type Op string

// The operations that events tell of.
const (
	OpPrepare Op = "prepare"
	OpView    Op = "view"
	OpCommit  Op = "commit"
	OpRemove  Op = "remove"
	OpMounts  Op = "mounts"
	OpStat    Op = "stat"
	OpUpdate  Op = "update"
	OpUsage   Op = "usage"
	OpWalk    Op = "walk"
	OpApply   Op = "apply"
	OpDiff    Op = "diff"
	OpCleanup Op = "cleanup"
)

// An Event tells of one call that has ended.
type Event struct {
	Op Op
	// Key is the snapshot, by its name in the store; Name what it was committed
	// as, and Parent its parent, where the call named them.
	Key, Name, Parent string
	Start             time.Time
	Duration          time.Duration
	// Bytes and Entries are what an apply read or a diff wrote, uncompressed.
	Bytes, Entries int64
	Err            error
}

// An Observer is told of every call on a store once it has ended, from the
// goroutine of the call: it must be quick and safe for concurrent use.
type Observer func(Event)
