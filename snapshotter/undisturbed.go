package snapshotter

import (
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
)

// Comparing all rows with all layers, and looking for what killed calls have
// left, costs what grows with the store. It tells nothing new of a store that
// was in order when it was closed, and in which nothing has happened since:
//
//   - The database has the mark of its last closing, so there was no
//     transaction since. Every step that makes or removes a layer begins with
//     one, so a process that was killed, or a power cut, in the middle of a
//     step has left a database without one.
//   - The directory of the layers has the inode, the length, the links and the
//     times that it had, so no name has appeared in it or gone: neither by a
//     call that makes no transaction, such as one that unpacks a layer, nor by
//     hand.
//   - The lock has no name of a process that was killed, which may have left
//     something in a layer.
//
// In order means that the last comparison has found nothing that is missing or
// that no row names, that no row says that it is being made or removed, and
// that all that was to be deleted is. Where one of these is not so, opening
// compares and cleans up as it does after a crash; nothing is deleted that a
// comparison would not have deleted.

// stampOf describes the directory of a driver's layers, empty when nobody can
// tell.
func stampOf(root, driverName string) string {
	var st unix.Stat_t
	if driverName == "" || unix.Stat(filepath.Join(root, driverName), &st) != nil {
		return ""
	}
	// Links or length tell of a layer that appears or goes within one tick of the
	// clock that files get their times from: a layer is a directory.
	modified, changed := times(&st)
	return fmt.Sprint(driverName, st.Ino, st.Nlink, st.Size, modified, changed)
}

// stamp is stampOf the open store, empty when it is not in order.
func (s *Snapshotter) stamp() string {
	p, ok := s.driver.(driver.Placer)
	if !ok || !s.sound.Load() || !s.tidy.Load() || p.Leftovers() || p.Place() != filepath.Join(s.root, s.driver.Name()) {
		return ""
	}
	return stampOf(s.root, s.driver.Name())
}

// undisturbed reports whether the store is as it was when it was closed in
// order. before is what stampOf said before the driver was opened, which tries
// what works there.
func (s *Snapshotter) undisturbed(before string) bool {
	p, ok := s.driver.(driver.Placer)
	if !ok || p.Place() != filepath.Join(s.root, s.driver.Name()) || s.lock != nil && s.lock.killed {
		return false
	}
	stamp, ok := s.db.Settled()
	return ok && stamp != "" && stamp == before
}

// needsCleanup reports whether there may be something for the driver's Cleanup.
func (s *Snapshotter) needsCleanup() bool {
	p, ok := s.driver.(driver.Placer)
	return !ok || !s.tidy.Load() || p.Leftovers()
}

// OpenedInOrder reports whether the last process closed the store properly and
// nothing has changed it since. Then what other packages keep in the store is
// complete too.
func (s *Snapshotter) OpenedInOrder() bool { return s.inOrder }

// leaveMark has the database remember, when it is closed, that the store is in
// order. The driver is closed already, so that nothing is being deleted any
// more.
func (s *Snapshotter) leaveMark() {
	if s.readOnly || s.driver == nil {
		return
	}
	if stamp := s.stamp(); stamp != "" {
		s.db.Settle(stamp)
	}
}
