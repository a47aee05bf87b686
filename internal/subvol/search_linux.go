package subvol

import (
	"encoding/binary"
	"errors"
	"math"
	"os"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Cursor goes through the items of a tree, in the order of their keys. It
// sees what was committed, and what later transactions wrote to the tree, but
// not what the kernel still holds back: see syncfs(2).
type Cursor struct {
	f     *os.File
	query Query
	from  Key
	buf   *[]byte // header of the call, then what it found
	rest  []byte
	left  uint32
	item  Item
	more  bool
	err   error
}

// struct btrfs_ioctl_search_args_v2: a struct btrfs_ioctl_search_key, the size
// of the buffer, the buffer. In that, items each behind a struct
// btrfs_ioctl_search_header.
const (
	searchHeader = 112
	searchItems  = 64
	searchSize   = 104
	itemHeader   = 32
)

// Buffer sizes: an item is smaller than a node of the tree, which has 64 KiB at
// most.
const (
	smallBuffer = 2 << 10
	bigBuffer   = 128 << 10
)

var (
	smallBuffers = sync.Pool{New: func() any { b := make([]byte, searchHeader+smallBuffer); return &b }}
	bigBuffers   = sync.Pool{New: func() any { b := make([]byte, searchHeader+bigBuffer); return &b }}
)

// Search looks in the tree of the subvolume that f, a file or directory, is in.
// It needs CAP_SYS_ADMIN. The Cursor must be closed.
func Search(f *os.File, q Query) *Cursor {
	c := &Cursor{f: f, query: q, from: q.Min, more: true}
	if q.Few {
		c.buf = smallBuffers.Get().(*[]byte)
	} else {
		c.buf = bigBuffers.Get().(*[]byte)
	}
	return c
}

// Close gives back the buffer, and with it the last item.
func (c *Cursor) Close() {
	if c.buf == nil {
		return
	}
	if len(*c.buf) == searchHeader+smallBuffer {
		smallBuffers.Put(c.buf)
	} else {
		bigBuffers.Put(c.buf)
	}
	c.buf, c.rest, c.left, c.more, c.item = nil, nil, 0, false, Item{}
}

// Next goes to the next item, the first one at first. It returns false after
// the last one and after an error.
func (c *Cursor) Next() bool {
	if c.err != nil {
		return false
	}
	if c.left == 0 && !c.fill() {
		return false
	}
	c.left--
	return c.parse()
}

// Item returns the item that the Cursor is at.
func (c *Cursor) Item() Item { return c.item }

// Err returns what went wrong.
func (c *Cursor) Err() error { return c.err }

// parse takes the next item from what a call has found.
func (c *Cursor) parse() bool {
	ne := binary.NativeEndian
	if len(c.rest) < itemHeader {
		c.err = corrupt(c.from, "short answer")
		return false
	}
	h := c.rest[:itemHeader]
	size := uint64(ne.Uint32(h[28:]))
	if size > uint64(len(c.rest)-itemHeader) {
		c.err = corrupt(c.from, "short answer")
		return false
	}
	end := itemHeader + int(size)
	c.item = Item{
		Key:  Key{ObjectID: ne.Uint64(h[8:]), Offset: ne.Uint64(h[16:]), Type: uint8(ne.Uint32(h[24:]))},
		Data: c.rest[itemHeader:end:end],
	}
	c.rest = c.rest[end:]
	c.from, c.more = c.item.Key.next()
	return true
}

// fill asks the kernel for more.
func (c *Cursor) fill() bool {
	if !c.more {
		return false
	}
	for {
		err := c.call()
		switch {
		case err == nil:
		case errors.Is(err, unix.EOVERFLOW) && len(*c.buf) < searchHeader+bigBuffer:
			smallBuffers.Put(c.buf)
			c.buf = bigBuffers.Get().(*[]byte)
			continue
		default:
			c.err = err
			return false
		}
		c.left = binary.NativeEndian.Uint32((*c.buf)[searchItems:])
		c.rest = (*c.buf)[searchHeader:]
		c.more = c.left > 0
		return c.more
	}
}

// call makes one system call.
func (c *Cursor) call() error {
	b, ne := *c.buf, binary.NativeEndian
	clear(b[:searchHeader])
	for i, v := range []uint64{
		c.query.Tree, c.from.ObjectID, c.query.Max.ObjectID, c.from.Offset, c.query.Max.Offset, c.query.MinTransid, math.MaxUint64,
	} {
		ne.PutUint64(b[8*i:], v)
	}
	ne.PutUint32(b[56:], uint32(c.from.Type))
	ne.PutUint32(b[60:], uint32(c.query.Max.Type))
	ne.PutUint32(b[searchItems:], math.MaxUint32)
	ne.PutUint64(b[searchSize:], uint64(len(b)-searchHeader))
	return ioctl(c.f, "BTRFS_IOC_TREE_SEARCH_V2", request(read|write, 17, searchHeader), unsafe.Pointer(&b[0]))
}

// Each calls visit with every item that a query finds.
func Each(f *os.File, q Query, visit func(Item) error) error {
	c := Search(f, q)
	defer c.Close()
	for c.Next() {
		if err := visit(c.Item()); err != nil {
			return err
		}
	}
	return c.Err()
}
