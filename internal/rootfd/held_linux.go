package rootfd

import (
	"errors"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/sys"
)

// maxHeld is the number of descriptors that a walk of one tree holds. The
// descriptors of directories further up are released. They are opened again as
// the directory above one that is being closed.
const maxHeld = 64

var errMoved = errors.New("a directory was moved while the tree was read")

// held is the list of directories of a tree that have a descriptor, without the
// root, in the order in which they were opened.
type held struct {
	mu   sync.Mutex
	dirs []*Dir
}

// add records a directory that was opened, and releases others if there are
// more than maxHeld.
func (h *held) add(d *Dir) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.dirs = append(h.dirs, d)
	d.up.below = d
	h.trim(d)
}

// trim releases descriptors until maxHeld are left, the oldest first. It never
// releases the newest.
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

// letGo closes the descriptor of a directory if the directory is not in use and
// can be found again. It reports whether the directory now has no descriptor.
// The caller has locked held.
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
	_ = unix.Close(d.fd) // the directory was only read, so an error does not matter
	d.fd, d.id = -1, id
	return true
}

// acquire makes sure that the directory has a descriptor, and keeps it open
// until the caller calls d.use.RUnlock. It opens a released descriptor again.
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

// restore opens a released directory again: from an open directory below it, or
// by its name in the directory above it.
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

// fromBelow opens the directory as ".." of the open directory below it. It
// fails if that one has no descriptor or is being opened again.
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

// take gives a released directory a new descriptor.
func (d *Dir) take(fd int) error {
	id, _, err := sys.Identify(fd)
	if err != nil {
		_ = unix.Close(fd)
		return err
	}
	d.use.Lock()
	needed := d.fd < 0 && !d.closed // otherwise another goroutine was faster
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

// again records a directory that was opened again.
func (h *held) again(d *Dir) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !slices.Contains(h.dirs, d) {
		h.dirs = append(h.dirs, d)
		h.trim(d)
	}
}

// leaveTree removes a directory from held. If the descriptor of the directory
// above was released, leaveTree opens it again, because a walk that comes back
// up continues there.
func (d *Dir) leaveTree() {
	up := d.up
	if up == nil {
		return
	}
	above := -1
	if !up.has() {
		d.use.RLock()
		if d.fd >= 0 {
			above, _ = openat(d.fd, "..", dirFlags) // if this fails, it is later found by its name
		}
		d.use.RUnlock()
	}
	d.tree.held.remove(d)
	if above >= 0 {
		_ = up.take(above) // if this fails, the next use tries again and returns the error
	}
}

// apart makes a directory forget the directory above it. That one is closed,
// and no method is called on it any more that would need this one.
func (d *Dir) apart() {
	d.tree.held.remove(d)
	d.up = nil
}

// has reports whether a directory has a descriptor or is closed.
func (d *Dir) has() bool {
	d.use.RLock()
	defer d.use.RUnlock()
	return d.fd >= 0 || d.closed
}
