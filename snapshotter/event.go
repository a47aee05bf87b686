package snapshotter

import "time"

// An Op is what a call does to a store, as in [Event].
type Op string

// The operations in events.
const (
	OpPrepare Op = "prepare"
	OpView    Op = "view"
	OpCommit  Op = "commit"
	OpRename  Op = "rename"
	OpRemove  Op = "remove"
	OpMounts  Op = "mounts"
	OpStat    Op = "stat"
	OpUpdate  Op = "update"
	OpUsage   Op = "usage"
	OpWalk    Op = "walk"
	OpApply   Op = "apply"
	OpDiff    Op = "diff"
	OpChanges Op = "changes"
	OpCleanup Op = "cleanup"
)

// An Event describes one call that has ended.
type Event struct {
	Op Op
	// Key is the name of the snapshot in the store. Name is the name that it
	// was committed or renamed to, and Parent its parent, if the call has them.
	Key, Name, Parent string
	Start             time.Time
	Duration          time.Duration
	// Bytes and Entries are what an apply read or a diff wrote, uncompressed.
	Bytes, Entries int64
	Err            error
}

// An Observer is called after every call on a store, by the goroutine of that
// call. It must be quick and safe for concurrent use.
type Observer func(Event)

// observe begins an event. The method end completes it.
func (s *Snapshotter) observe(e Event) *observation {
	e.Start = time.Now()
	return &observation{Event: e, observer: s.observer}
}

// An observation is the event of a call that has not ended.
type observation struct {
	Event
	observer Observer
}

// end calls the observer with the result of the call. Defer it, with the
// address of the error that the call returns.
func (o *observation) end(err *error) {
	if o.observer == nil {
		return
	}
	o.Duration, o.Err = time.Since(o.Start), *err
	o.observer(o.Event)
}
