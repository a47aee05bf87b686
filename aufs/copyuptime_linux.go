package aufs

import (
	"io/fs"
	"time"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/rootfd"
	"github.com/layerkeep/layerkeep/internal/sys"
	"github.com/layerkeep/layerkeep/internal/whiteout"
)

// The module copies a lower file up under a temporary name and then renames the
// copy. The rename changes the modification time of the directory, and the
// module does not restore it. So after a write to /usr/bin/x the directories
// /usr/bin and /usr have new times, although no name in them has changed. The
// code below detects such times.

// clockTick is the largest difference between two times of one operation. The
// clock of a file system ticks at least every 10 ms.
const clockTick = 20 * time.Millisecond

// mtime returns the modification time that a merged directory shows. own is the
// time of its uppermost place. mtime returns the time of the parents' directory
// if the layer is not sealed yet and only copy-up changed own.
func (v *stack) mtime(places []place, own time.Time) (time.Time, error) {
	if !v.unsealed || len(places) < 2 || places[0].branch != 0 {
		return own, nil
	}
	var st, lower rootfd.Stat
	err := v.with(places[1], func(d *rootfd.Dir) (err error) {
		lower, err = d.Stat()
		return err
	})
	if err != nil || lower.Mtime.Equal(own) {
		return own, err
	}
	copied := false
	err = v.with(places[0], func(d *rootfd.Dir) (err error) {
		if st, err = d.Stat(); err == nil && !isExplicit(st) {
			copied, err = v.onlyCopyUp(d, places, own)
		}
		return err
	})
	if err != nil || !copied {
		return own, err
	}
	return lower.Mtime, nil
}

// isExplicit reports whether a program set the modification time, instead of
// the clock. The module cuts such times to whole seconds. A file system that
// stores only whole seconds has no such difference, and the result is false.
func isExplicit(st rootfd.Stat) bool {
	return st.Mtime.Nanosecond() == 0 && st.Ctime.Nanosecond() != 0
}

// onlyCopyUp reports whether all names in a directory of the first branch are
// copies from the parents, and whether making one of them changed the directory
// at the given time.
func (v *stack) onlyCopyUp(d *rootfd.Dir, places []place, changed time.Time) (bool, error) {
	entries, err := d.Entries()
	if err != nil {
		return false, err
	}
	explained := false
	for _, e := range entries {
		switch kind, _, bad := whiteout.Parse(e.Name); {
		case bad != nil, kind == whiteout.Bookkeeping:
			continue
		case kind != whiteout.None:
			return false, nil // a whiteout: a name was removed
		}
		same, at, err := v.copyOf(d, places, e.Name, changed)
		if err != nil || !same {
			return false, err
		}
		explained = explained || at
	}
	return explained, nil
}

// copyOf reports whether name in a directory of the first branch can be a copy
// of what the parents have under the name. at says whether making the copy can
// have changed the directory at the given time.
//
// A new file that was renamed over a file of the parents looks the same, unless
// it was written some time before the rename.
func (v *stack) copyOf(d *rootfd.Dir, places []place, name string, changed time.Time) (same, at bool, err error) {
	lower, err := v.lookup(places[1:], name, 0, true)
	if isMissing(err) {
		return false, false, nil // a new name
	}
	if err != nil {
		return false, false, err
	}
	st, err := d.Lookup(name)
	if err != nil || st.Type() != lower.st.Type() {
		return false, false, err
	}
	if st.IsDir() {
		// The module adds the opaque mark to a directory that replaced another.
		replaced, err := v.isReplaced(d, name)
		if replaced || err != nil {
			return false, false, err
		}
	}
	born, err := birth(d, name)
	if err != nil || born.IsZero() {
		return true, false, err
	}
	written := !st.IsDir() && !st.Mtime.Equal(lower.st.Mtime) && !isExplicit(st)
	at = !born.After(changed.Add(clockTick)) && !st.Ctime.Before(changed.Add(-clockTick)) &&
		(!written || !st.Mtime.Before(changed.Add(-clockTick)))
	return true, at, nil
}

func (v *stack) isReplaced(d *rootfd.Dir, name string) (bool, error) {
	child, err := d.OpenDir(name)
	if err != nil {
		return false, err
	}
	defer child.Close()
	return hasMark(child, whiteout.OpaqueMarker)
}

// birth returns the time when a file was made. It returns the zero time if the
// file system has no such time, or if statx(2) is not available.
func birth(d *rootfd.Dir, name string) (time.Time, error) {
	var st unix.Statx_t
	err := d.Use(func(fd int) error {
		return unix.Statx(fd, name, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BTIME, &st)
	})
	if sys.Refused(err) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, &fs.PathError{Op: "statx", Path: d.Path() + "/" + name, Err: err}
	}
	if st.Mask&unix.STATX_BTIME == 0 {
		return time.Time{}, nil
	}
	return time.Unix(st.Btime.Sec, int64(st.Btime.Nsec)), nil
}
