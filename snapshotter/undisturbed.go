package snapshotter

import (
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
)

// Opening a store normally compares all rows with all layers and looks for what
// killed calls have left. The time for that grows with the store. Open skips
// this work for a store that was in order when it was closed and that nothing
// has changed since. It knows so when all of these are true:
//
//   - The database has the mark of its last closing, so there was no
//     transaction since then. Every step that makes or removes a layer begins
//     with a transaction. So when a process was killed in the middle of a step,
//     or the power failed, the database has no mark.
//   - The directory of the layers has the same inode number, length, number of
//     links and times as at the closing. So no name was added to it or removed
//     from it. This catches changes by hand, and calls that make no
//     transaction, such as a call that unpacks a layer.
//   - The lock file does not name a process that was killed. Such a process may
//     have left something in a layer.
//
// A store is in order when the last comparison found no layer missing and no
// layer without a row, when no row is pending or removing, and when everything
// that was to be deleted is deleted. When one of these is false, Open compares
// and cleans up as it does after a crash. Without the comparison Open deletes
// nothing that it would not have deleted after one.

// stampOf describes the directory of a driver's layers. It returns the empty
// string when driverName is empty or the directory cannot be read.
func stampOf(root, driverName string) string {
	var st unix.Stat_t
	if driverName == "" || unix.Stat(filepath.Join(root, driverName), &st) != nil {
		return ""
	}
	// The times of files have the resolution of a kernel clock. A layer that
	// appears or disappears within one tick of it does not change them. But a layer
	// is a directory, so it changes the number of links or the length.
	modified, changed := times(&st)
	return fmt.Sprint(driverName, st.Ino, st.Nlink, st.Size, modified, changed)
}

// stamp returns the stampOf of the open store, or the empty string when the
// store is not in order.
func (s *Snapshotter) stamp() string {
	p, ok := s.driver.(driver.Placer)
	if !ok || !s.sound.Load() || !s.tidy.Load() || p.Leftovers() || p.Place() != filepath.Join(s.root, s.driver.Name()) {
		return ""
	}
	return stampOf(s.root, s.driver.Name())
}

// undisturbed reports whether the store is as it was when it was closed in
// order. before is the result of stampOf from before the driver was opened,
// because a driver that is opened tries things in this directory.
func (s *Snapshotter) undisturbed(before string) bool {
	p, ok := s.driver.(driver.Placer)
	if !ok || p.Place() != filepath.Join(s.root, s.driver.Name()) || s.lock != nil && s.lock.killed {
		return false
	}
	stamp, ok := s.db.Settled()
	return ok && stamp != "" && stamp == before
}

// needsCleanup reports whether the driver's Cleanup may have something to
// delete.
func (s *Snapshotter) needsCleanup() bool {
	p, ok := s.driver.(driver.Placer)
	return !ok || !s.tidy.Load() || p.Leftovers()
}

// OpenedInOrder reports whether the last process closed the store properly and
// nothing has changed the store since. Then the data of other packages in the
// store is complete too.
func (s *Snapshotter) OpenedInOrder() bool { return s.inOrder }

// leaveMark tells the database that the store is in order. The database records
// it when it is closed. The caller has closed the driver already, so nothing is
// being deleted any more.
func (s *Snapshotter) leaveMark() {
	if s.readOnly || s.driver == nil {
		return
	}
	if stamp := s.stamp(); stamp != "" {
		s.db.Settle(stamp)
	}
}
