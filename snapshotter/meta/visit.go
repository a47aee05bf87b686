package meta

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"sort"
)

// A keyRange is the range of keys of a tree that are going to be touched. Both
// ends are included.
type keyRange struct {
	from, to []byte
	// toEnd: the range ends with the tree, and to is not used.
	toEnd bool
	// writing: the library may merge nodes with their neighbours.
	writing bool
	// last: the caller needs the last key of the last leaf.
	last bool
}

// maxDepth is far above the depth of any tree, because each level has at least
// twice as many rows as the level above it.
const maxDepth = 64

// visit compares the pages that the library may touch when it reads or writes
// the keys of a range in the tree below root. These are the pages on the way to
// the keys, and the next leaf, because a cursor moves on to it at the end of a
// leaf. For writing they are also the neighbours of each, because the library
// merges a page that gets too small with a neighbour. visit returns the last
// key of the last leaf in the range, when r.last is set.
func (g *pageGuard) visit(root uint64, r keyRange) (last []byte, err error) {
	return g.descend(root, r, maxDepth)
}

func (g *pageGuard) descend(id uint64, r keyRange, depth int) (last []byte, err error) {
	if !r.last && g.isLeaf(id) {
		return nil, nil
	}
	if depth == 0 {
		return nil, fmt.Errorf("page %d lies too deep: %w", id, errSuspect)
	}
	flags, raw, count, err := g.page(id)
	if err != nil {
		return nil, err
	}
	switch flags {
	case flagLeaf:
		if _, err := leafPages(raw, count); err != nil {
			return nil, fmt.Errorf("page %d %w: %w", id, err, errSuspect)
		}
		if count > 0 && r.last {
			last = bytes.Clone(leafKey(raw, count-1))
		}
		g.addLeaf(id)
		return last, nil
	case flagBranch:
		below, err := branchPages(raw, count)
		if err != nil {
			return nil, fmt.Errorf("page %d %w: %w", id, err, errSuspect)
		}
		return g.children(raw, below, r, depth)
	}
	return nil, fmt.Errorf("page %d is of no kind that belongs into the tree: %w", id, errSuspect)
}

// children visits the pages below a branch that belong to a range.
func (g *pageGuard) children(raw []byte, below []uint64, r keyRange, depth int) (last []byte, err error) {
	first, end := branchOf(raw, len(below), r.from), len(below)-1
	if !r.toEnd {
		end = branchOf(raw, len(below), r.to)
	}
	for i := first; i <= end; i++ {
		if last, err = g.descend(below[i], r, depth-1); err != nil {
			return nil, err
		}
	}
	if end+1 < len(below) { // a cursor moves on to its first leaf
		if _, err := g.descend(below[end+1], keyRange{writing: r.writing}, depth-1); err != nil {
			return nil, err
		}
	}
	if !r.writing {
		return last, nil
	}
	// The page at end+2 is needed when the transaction has emptied the leaf at
	// end+1.
	for _, i := range []int{first - 1, end + 2} {
		if i < 0 || i >= len(below) || g.isLeaf(below[i]) {
			continue
		}
		if _, _, _, err := g.page(below[i]); err != nil {
			return nil, err
		}
	}
	return last, nil
}

func (g *pageGuard) isLeaf(id uint64) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.leaves.has(id)
}

func (g *pageGuard) addLeaf(id uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.written.has(id) { // it may become another page while an old transaction reads it
		g.leaves.set(id)
	}
}

// branchOf returns the element of a branch below which a key is.
func branchOf(raw []byte, count int, key []byte) int {
	i := sort.Search(count, func(i int) bool { return bytes.Compare(branchKey(raw, i), key) > 0 })
	return max(i-1, 0)
}

// branchKey and leafKey return the key of one element of a page. The caller has
// checked that the elements are within the page.
func branchKey(raw []byte, i int) []byte {
	at := pageHeader + i*branchElement
	e, order := raw[at:], binary.NativeEndian
	pos, n := order.Uint32(e), order.Uint32(e[4:])
	return e[pos : pos+n]
}

func leafKey(raw []byte, i int) []byte {
	at := pageHeader + i*leafElement
	e, order := raw[at:], binary.NativeEndian
	pos, n := order.Uint32(e[4:]), order.Uint32(e[8:])
	return e[pos : pos+n]
}
