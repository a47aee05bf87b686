package tar

import (
	"container/list"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/sys"
)

// A dirCache keeps the most recently used directories of the staging directory
// open. Only the parsing goroutine uses the cache. The writers share the
// handles that it returns; a handle counts its references.
type dirCache struct {
	root int
	max  int
	lru  *list.List // of *dirHandle, most recent in front
	open atomic.Int32
	// drain waits until no job has a handle. Queued jobs keep handles open that are
	// no longer in the cache.
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

// newDirCache limits the cache to an eighth of the file descriptors that this
// process may open, because several layers may be unpacked at the same time.
func newDirCache(root int) *dirCache {
	limit := maxOpenDirs
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err == nil && r.Cur/8 < maxOpenDirs {
		limit = max(4, int(r.Cur/8))
	}
	return &dirCache{root: root, max: limit, lru: list.New()}
}

// get returns a handle of a directory. The caller must release it.
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

// above returns a handle of the directory that contains n. If n itself is open,
// above opens ".." from there, and need not open the directories on the path
// one by one.
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

// put makes a handle of a descriptor. It has two references, one for the cache
// and one for the caller.
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

// drop removes a handle from the cache. The other holders of the handle can
// still use it.
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
