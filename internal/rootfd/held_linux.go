package rootfd

import (
	"errors"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/sys"
)

// maxHeld is how many descriptors a walk down one tree holds. Of the
// directories further up the descriptors are let go, and opened again as the
// directory above the one that is closed then.
const maxHeld = 64

var errMoved = errors.New("a directory was moved while the tree was read")

// held are the directories of a tree with a descriptor, but for its root, in
// the order in which they were opened.
type held struct {
	mu   sync.Mutex
	dirs []*Dir
}

// add notes a directory that was opened, and lets go of others beyond maxHeld.
func (h *held) add(d *Dir) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.dirs = append(h.dirs, d)
	d.up.below = d
	h.trim(d)
}

// trim lets go of what is beyond maxHeld, the oldest first, but not of the
// newest.
func (h *held) trim(newest *Dir) {
	for i := 0; len(h.dirs) > maxHeld && i < len(h.dirs); {
		if h.dirs[i] != newest && h.dirs[i].letGo() {
			h.dirs = slices.Delete(h.dirs, i, i+1)
		} else {
			i++
		}
	}
}

func (h *held) remove(d *Dir) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if i := slices.Index(h.dirs, d); i >= 0 {
		h.dirs = slices.Delete(h.dirs, i, i+1)
	}
	if d.up.below == d {
		d.up.below = nil
	}
}

// letGo closes the descriptor of a directory that nobody uses at the moment and
// that can be found again. The caller has locked what is held.
func (d *Dir) letGo() bool {
	if d.below == nil || !d.use.TryLock() {
		return false
	}
	defer d.use.Unlock()
	if d.fd < 0 {
		return true
	}
	if d.kept.Load() {
		return false
	}
	id, _, err := sys.Identify(d.fd)
	if err != nil {
		return false
	}
	_ = unix.Close(d.fd) // it was only read
	d.fd, d.id = -1, id
	return true
}

// acquire holds on to the descriptor, until d.use.RUnlock. It opens it again
// where it was let go.
func (d *Dir) acquire() error {
	for {
		d.use.RLock()
		if d.fd >= 0 {
			return nil
		}
		closed := d.closed
		d.use.RUnlock()
		if closed {
			return unix.EBADF
		}
		if err := d.restore(); err != nil {
			return err
		}
	}
}

// restore opens a directory again that somebody uses while what is below it is
// still open: from there, or by its name in the one above it.
func (d *Dir) restore() error {
	fd, err := d.fromBelow()
	if err == nil {
		err = d.take(fd)
	}
	if err == nil || d.up == nil {
		return err
	}
	if err := d.up.acquire(); err != nil {
		return err
	}
	fd, err = openat(d.up.fd, d.name, dirFlags)
	d.up.use.RUnlock()
	if err != nil {
		return err
	}
	return d.take(fd)
}

// fromBelow opens the directory above an open one that nobody opens again just
// now.
func (d *Dir) fromBelow() (int, error) {
	h := &d.tree.held
	h.mu.Lock()
	below := d.below
	h.mu.Unlock()
	if below == nil || !below.use.TryRLock() {
		return -1, unix.EBADF
	}
	defer below.use.RUnlock()
	if below.fd < 0 {
		return -1, unix.EBADF
	}
	return openat(below.fd, "..", dirFlags)
}

// take makes a descriptor that of a directory that was let go.
func (d *Dir) take(fd int) error {
	id, _, err := sys.Identify(fd)
	if err != nil {
		_ = unix.Close(fd)
		return err
	}
	d.use.Lock()
	needed := d.fd < 0 && !d.closed // or another was faster
	if needed && id != d.id {
		needed, err = false, errMoved
	}
	if needed {
		d.fd = fd
	}
	d.use.Unlock()
	if !needed {
		_ = unix.Close(fd)
		return err
	}
	d.tree.held.again(d)
	return nil
}

// again notes a directory that was opened again.
func (h *held) again(d *Dir) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !slices.Contains(h.dirs, d) {
		h.dirs = append(h.dirs, d)
		h.trim(d)
	}
}

// leaveTree ends that a directory is held, and gives the one above it its
// descriptor back where that was let go: a walk that comes up goes on there.
func (d *Dir) leaveTree() {
	up := d.up
	if up == nil {
		return
	}
	above := -1
	if !up.has() {
		d.use.RLock()
		if d.fd >= 0 {
			above, _ = openat(d.fd, "..", dirFlags) // else it is found by its name
		}
		d.use.RUnlock()
	}
	d.tree.held.remove(d)
	if above >= 0 {
		_ = up.take(above) // whoever uses it tries again, and gets the error
	}
}

// apart makes a directory one whose directory above is not known: that is
// closed, and nobody can ask it for this one.
func (d *Dir) apart() {
	d.tree.held.remove(d)
	d.up = nil
}

// has reports whether a directory has a descriptor, or needs none any more.
func (d *Dir) has() bool {
	d.use.RLock()
	defer d.use.RUnlock()
	return d.fd >= 0 || d.closed
}
