package tar

import (
	"container/list"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/sys"
)

// A dirCache keeps descriptors of the staging directory's directories open,
// the most recently used ones. Only the parsing goroutine uses the cache; the
// handles that it gives out are shared with the writers by counting references.
type dirCache struct {
	root int
	max  int
	lru  *list.List // of *dirHandle, most recent in front
	open atomic.Int32
	// drain waits until no job has a handle any more: queued jobs keep handles
	// open that have left the cache.
	drain func() error
}

// A dirHandle is an O_PATH descriptor of a directory.
type dirHandle struct {
	fd   int
	node *node
	elem *list.Element
	refs atomic.Int32
	open *atomic.Int32 // of the cache
}

const maxOpenDirs = 256

// newDirCache sizes the cache so that it takes at most an eighth of the
// descriptors this process may have: others unpack at the same time.
func newDirCache(root int) *dirCache {
	limit := maxOpenDirs
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err == nil && r.Cur/8 < maxOpenDirs {
		limit = max(4, int(r.Cur/8))
	}
	return &dirCache{root: root, max: limit, lru: list.New()}
}

// get returns a handle of a directory. The caller releases it.
func (c *dirCache) get(n *node) (*dirHandle, error) {
	if h := n.dir.handle; h != nil {
		c.lru.MoveToFront(h.elem)
		h.refs.Add(1)
		return h, nil
	}
	if int(c.open.Load()) >= 2*c.max {
		if err := c.drain(); err != nil {
			return nil, err
		}
	}
	if n.parent == nil {
		fd, err := unix.FcntlInt(uintptr(c.root), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return nil, err
		}
		return c.put(n, fd), nil
	}
	parent, err := c.get(n.parent)
	if err != nil {
		return nil, err
	}
	fd, err := sys.Openat(parent.fd, n.name, unix.O_PATH|unix.O_DIRECTORY, 0)
	parent.release()
	if err != nil {
		return nil, err
	}
	return c.put(n, fd), nil
}

// above returns a handle of the directory that n is in. Where n itself is open,
// it is the way there: the directories above need not be opened one by one.
func (c *dirCache) above(n *node) (*dirHandle, error) {
	below := n.dir.handle
	if below == nil || n.parent.parent == nil || n.parent.dir.handle != nil {
		return c.get(n.parent)
	}
	fd, err := sys.Openat(below.fd, "..", unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	return c.put(n.parent, fd), nil
}

// put makes a handle of a descriptor, for the cache and the caller.
func (c *dirCache) put(n *node, fd int) *dirHandle {
	h := &dirHandle{node: n, open: &c.open, fd: fd}
	c.open.Add(1)
	h.refs.Store(2)
	h.elem = c.lru.PushFront(h)
	n.dir.handle = h
	for c.lru.Len() > c.max {
		c.drop(c.lru.Back().Value.(*dirHandle))
	}
	return h
}

// drop takes a handle out of the cache; whoever still has it may use it on.
func (c *dirCache) drop(h *dirHandle) {
	c.lru.Remove(h.elem)
	h.node.dir.handle = nil
	h.release()
}

func (c *dirCache) close() {
	for c.lru.Len() > 0 {
		c.drop(c.lru.Back().Value.(*dirHandle))
	}
}

func (h *dirHandle) release() {
	if h.refs.Add(-1) == 0 {
		unix.Close(h.fd)
		h.open.Add(-1)
	}
}
