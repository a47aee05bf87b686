package meta

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"

	"github.com/layerkeep/layerkeep/internal/ownfiles"
)

// A pageGuard makes sure that the library reads only sound pages of an open
// database, see SumsSuffix.
//
// There are two cases. Either every page was looked at when the file was
// opened; then nothing is left to do. Or a mark said that this was not
// necessary; then each page is compared with its checksum before the library
// touches it, unless it was written since the mark.
//
// The guard knows the written pages without watching the library write, because
// the library never changes a page that is in use. It writes only free pages
// and pages beyond the end, and each transaction says in the list of free pages
// which of them the next transaction may write.
type pageGuard struct {
	path string
	file *os.File
	size int64 // of a page, in bytes
	// base is the number of pages when the mark was made.
	base uint64
	read atomic.Int64 // pages that were looked at
	// scanning is locked while every page is looked at.
	scanning sync.Mutex

	mu sync.Mutex
	// sums are the checksums that pages are compared with. It is nil when every
	// page was looked at.
	sums *sumsFile
	// known are the checksums of all pages from when each was looked at.
	known []uint32
	// seen pages are not compared again: they were found sound, or were free.
	seen bitset
	// leaves are pages with rows that visit has compared. They are not read again,
	// until the list of free pages names them.
	leaves bitset
	// written are pages that may have changed since the mark was made, or since
	// known was.
	written bitset
	// state is the meta page of the last transaction.
	state metaPage
	// lost: the written pages are not known, so there will be no mark.
	lost bool
	// damage is the damage that a look at every page has found.
	damage error
}

// newPageGuard looks at every page of the file. When the mark allows it, it
// looks only at the pages that opening the file touches.
func newPageGuard(path string) (*pageGuard, error) {
	f, err := ownfiles.Open(path)
	if err != nil {
		return nil, err
	}
	g := &pageGuard{path: path, file: f}
	if err := g.begin(); err != nil {
		return nil, errors.Join(err, g.Close())
	}
	return g, nil
}

func (g *pageGuard) begin() error {
	info, err := g.file.Stat()
	if err != nil {
		return err
	}
	if g.state, err = currentMeta(g.file, info.Size()); err != nil {
		return err
	}
	g.size = int64(g.state.pageSize)
	if g.trusted() {
		return nil
	}
	return g.scan(g.state)
}

// trusted reports whether the mark belongs to this file, and the pages that
// opening touches match their checksums.
func (g *pageGuard) trusted() bool {
	sums, err := openSums(sumsPath(g.path))
	if err != nil {
		return false
	}
	now, err := markOf(g.file, g.state, sums.mark.Stamp)
	if err != nil || now != sums.mark || g.state.freelist == noFreelist {
		_ = sums.Close()
		return false
	}
	g.sums, g.base = sums, g.state.pages
	if g.freed(g.state) == nil && g.openingPages() == nil {
		return true
	}
	g.sums, g.seen, g.leaves, g.written = nil, nil, nil, nil
	_ = sums.Close()
	return false
}

// openingPages compares the pages that opening reads: the root, whose rows are
// the buckets, and the first pages of each bucket, such as the page with the
// version.
func (g *pageGuard) openingPages() error {
	_, err := g.visit(g.state.root, keyRange{toEnd: true})
	if err != nil {
		return err
	}
	_, raw, count, err := g.page(g.state.root)
	if err != nil {
		return err
	}
	pages, err := leafPages(raw, count)
	for _, root := range pages {
		if err == nil {
			_, err = g.visit(root, keyRange{})
		}
	}
	return err
}

// scan looks at every page that can be reached from m.
func (g *pageGuard) scan(m metaPage) error {
	readAhead(g.file)
	w, err := checkPages(g.file, m)
	g.read.Add(w.read)
	if err != nil {
		return err
	}
	g.mu.Lock()
	_ = g.sums.Close()
	g.sums, g.known, g.seen, g.leaves, g.written = nil, w.sums, nil, nil, nil
	g.base = m.pages
	g.lost = g.lost || m.freelist == noFreelist
	g.mu.Unlock()
	if m.freelist == noFreelist {
		return nil
	}
	return g.freed(m)
}

// lazy reports whether there may be pages that were not looked at.
func (g *pageGuard) lazy() (bool, error) {
	if g == nil {
		return false, nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.sums != nil, g.damage
}

// errSuspect: a page does not match its checksum.
var errSuspect = errors.New("a page is not as it was written")

// page reads a page and compares it. It returns the kind of the page, its bytes
// with those of its overflow pages, and the number of its elements.
func (g *pageGuard) page(id uint64) (flags uint16, raw []byte, count int, err error) {
	raw = make([]byte, g.size)
	if err := g.readPages(id, raw); err != nil {
		return 0, nil, 0, err
	}
	order := binary.NativeEndian
	overflow := uint64(order.Uint32(raw[12:]))
	if order.Uint64(raw) != id || overflow > g.end() {
		return 0, nil, 0, fmt.Errorf("page %d: %w", id, errSuspect)
	}
	if overflow > 0 {
		raw = append(raw, make([]byte, int64(overflow)*g.size)...) //nolint:gosec // below the number of pages
		if err := g.readPages(id+1, raw[g.size:]); err != nil {
			return 0, nil, 0, err
		}
	}
	return order.Uint16(raw[8:]), raw, int(order.Uint16(raw[10:])), nil
}

// readPages reads pages from id on, and compares those that were not seen yet.
func (g *pageGuard) readPages(id uint64, raw []byte) error {
	if _, err := g.file.ReadAt(raw, int64(id)*g.size); err != nil { //nolint:gosec // a wrong number gives an error
		if errors.Is(err, io.EOF) {
			err = fmt.Errorf("page %d: %w", id, errSuspect)
		}
		return err
	}
	for at := int64(0); at < int64(len(raw)); at += g.size {
		if err := g.compare(id, raw[at:at+g.size]); err != nil {
			return err
		}
		id++
	}
	return nil
}

func (g *pageGuard) compare(id uint64, raw []byte) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.sums == nil || id >= g.base || g.seen.has(id) {
		return nil
	}
	g.read.Add(1)
	want, err := g.sums.sum(id)
	if err != nil || want != pageSum(id, raw) {
		return fmt.Errorf("page %d: %w", id, errSuspect)
	}
	g.seen.set(id)
	return nil
}

func (g *pageGuard) end() uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.state.pages
}

// freed records the pages that the next transaction may write. They are in the
// list of free pages of m.
func (g *pageGuard) freed(m metaPage) error {
	flags, raw, count, err := g.page(m.freelist)
	if err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return eachFree(raw, flags, count, m.pages, func(page uint64) error {
		g.seen.set(page)
		g.written.set(page)
		g.leaves.clear(page)
		return nil
	}, func(what string) error { return fmt.Errorf("page %d %s: %w", m.freelist, what, errSuspect) })
}

// committed is called with the error of each writing transaction, before the
// next one begins. A transaction that failed has written no page that is in
// use.
func (g *pageGuard) committed(failed error) {
	if g == nil {
		return
	}
	m, err := g.now()
	if err == nil && failed != nil && m.txid == g.state.txid {
		return
	}
	known := err == nil && failed == nil && m.txid == g.state.txid+1 && m.freelist != noFreelist
	if known {
		g.mu.Lock()
		g.state = m
		for page := g.base; page < m.pages; page++ {
			g.written.set(page)
		}
		g.mu.Unlock()
		known = g.freed(m) == nil
	}
	if !known {
		g.mu.Lock()
		g.lost = true
		g.mu.Unlock()
	}
}

func (g *pageGuard) now() (metaPage, error) {
	info, err := g.file.Stat()
	if err != nil {
		return metaPage{}, err
	}
	return currentMeta(g.file, info.Size())
}

// leave writes the mark and the checksums of the written pages, after the
// library has closed the file. When the disk has no room there is no mark, and
// the next opening takes longer.
func (g *pageGuard) leave(stamp string) error {
	m, err := g.now()
	if err != nil {
		return err
	}
	to, err := markOf(g.file, m, stamp)
	if err != nil {
		return err
	}
	anew := g.sums == nil
	if g.lost || g.damage != nil || m.txid != g.state.txid || !anew && g.sums.mark == to {
		return nil
	}
	free := bitset{}
	flags, raw, count, err := g.page(m.freelist)
	if err == nil {
		err = eachFree(raw, flags, count, m.pages, func(page uint64) error { free.set(page); return nil },
			func(what string) error { return errors.New(what) })
	}
	if err != nil {
		return err
	}
	var failed error
	err = writeSums(sumsPath(g.path), to, func(yield func(uint64, uint32) bool) {
		page := make([]byte, g.size)
		for id := uint64(2); id < m.pages; id++ {
			var sum uint32
			switch {
			case free.has(id):
				continue
			case g.written.has(id) || anew && id >= g.base:
				if _, failed = g.file.ReadAt(page, int64(id)*g.size); failed != nil { //nolint:gosec // within the file
					return
				}
				sum = pageSum(id, page)
			case !anew:
				continue
			default:
				sum = g.known[id]
			}
			if !yield(id, sum) {
				return
			}
		}
	}, anew)
	if err = errors.Join(failed, err); err != nil {
		return errors.Join(err, ignoreMissing(os.Remove(sumsPath(g.path))))
	}
	return nil
}

// Close closes the files.
func (g *pageGuard) Close() error {
	if g == nil {
		return nil
	}
	return errors.Join(g.sums.Close(), g.file.Close())
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// A bitset grows with the highest number that is set in it.
type bitset []uint64

func (b bitset) has(n uint64) bool { return n/64 < uint64(len(b)) && b[n/64]&(1<<(n%64)) != 0 }

func (b *bitset) set(n uint64) {
	if need := int(n/64) + 1; need > len(*b) { //nolint:gosec // a number of pages
		*b = append(*b, make([]uint64, need-len(*b))...)
	}
	(*b)[n/64] |= 1 << (n % 64)
}

func (b bitset) clear(n uint64) {
	if n/64 < uint64(len(b)) {
		b[n/64] &^= 1 << (n % 64)
	}
}
