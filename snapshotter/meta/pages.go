package meta

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/bits"
	"slices"
)

// The file consists of pages. The first two pages are written in turn. They say
// where the tree and the list of free pages are. The library follows page
// numbers without checking them: a circle would fill the memory, and a page
// that is both in use and free would be overwritten. So all pages that are in
// use are read once before the library opens the file, unless a mark says that
// they were sound, see SumsSuffix.
//
// The format is that of go.etcd.io/bbolt, internal/common. A page has a header
// of 16 bytes (number, flags, count, number of overflow pages), followed by
// count elements, in the byte order of the machine.
const (
	pageHeader    = 16
	branchElement = 16 // position, length of key, page
	leafElement   = 16 // flags, position, length of key, length of value
	bucketHeader  = 16 // root page or 0, sequence

	flagBranch   = 0x01
	flagLeaf     = 0x02
	flagFreelist = 0x10
	leafIsBucket = 0x01

	metaMagic   = 0xED0CDAED
	metaSize    = 64
	minPageSize = 1 << 10
	maxPageSize = 64 << 10
	countAside  = 0xFFFF // as count of a list of free pages: the first entry is the count
	noFreelist  = ^uint64(0)
)

// checkPages returns ErrDamaged when the pages of a file do not form a tree: a
// page occurs twice, has the wrong kind, is beyond the end, or is also in the
// list of free pages. It does not check the content of the pages; the library,
// the checksums of rows and [Tx.CheckRows] do that. It begins at root. The
// returned walk has the checksums of all pages that it has read.
func checkPages(f io.ReaderAt, root metaPage) (*pageWalk, error) {
	w := &pageWalk{
		file: f, size: int64(root.pageSize), end: root.pages,
		seen: make([]bool, root.pages), sums: make([]uint32, root.pages),
	}
	w.seen[0], w.seen[1] = true, true
	if err := w.tree(root.root); err != nil {
		return w, err
	}
	return w, w.free(root.freelist)
}

// A metaPage is the content of one of the first two pages.
type metaPage struct {
	pageSize              uint32
	root, freelist, pages uint64
	txid                  uint64
}

// currentMeta returns the newer of the first two pages. It returns an error
// when one of them is not valid. Both are valid at all times, also after a
// power cut, because the important bytes of each are within one sector of a
// disk. The library would use the other page when one is not valid. But that
// may be the older page, without the last transaction, although the caller was
// told that it is durable.
func currentMeta(f io.ReaderAt, fileSize int64) (best metaPage, err error) {
	first, err := readMeta(f, 0)
	if err != nil {
		return best, fmt.Errorf("its first page %w", err)
	}
	second, err := readMeta(f, int64(first.pageSize))
	if err != nil {
		return best, fmt.Errorf("its second page %w", err)
	}
	best = first
	if second.txid > first.txid {
		best = second
	}
	if best.pages < 2 || best.pages > uint64(fileSize)/uint64(best.pageSize) { //nolint:gosec // the size of a file is not negative
		return best, fmt.Errorf("%w: it was cut short: %d bytes for %d pages of %d", ErrDamaged, fileSize, best.pages, best.pageSize)
	}
	return best, nil
}

func readMeta(f io.ReaderAt, at int64) (metaPage, error) {
	var b [pageHeader + metaSize]byte
	if _, err := f.ReadAt(b[:], at); err != nil && !errors.Is(err, io.EOF) {
		return metaPage{}, err
	}
	body, order := b[pageHeader:], binary.NativeEndian
	sum := fnv.New64a()
	_, _ = sum.Write(body[:metaSize-8])
	m := metaPage{
		pageSize: order.Uint32(body[8:]),
		root:     order.Uint64(body[16:]),
		freelist: order.Uint64(body[32:]),
		pages:    order.Uint64(body[40:]),
		txid:     order.Uint64(body[48:]),
	}
	sizeOK := bits.OnesCount32(m.pageSize) == 1 && m.pageSize >= minPageSize && m.pageSize <= maxPageSize
	// A disk may have written one of the two pages to the position of the other.
	// Such a page is valid in itself, but could give the state of the transaction
	// before.
	which := uint64(0)
	if at != 0 {
		which = 1
	}
	placeOK := order.Uint64(b[:]) == which && m.txid%2 == which
	if order.Uint32(body) != metaMagic || !sizeOK || !placeOK || order.Uint64(body[56:]) != sum.Sum64() || at != 0 && at != int64(m.pageSize) {
		return metaPage{}, fmt.Errorf("is not that of a database: %w", ErrDamaged)
	}
	return m, nil
}

// A pageWalk looks at each page of a file once.
type pageWalk struct {
	file io.ReaderAt
	size int64 // of a page, in bytes
	end  uint64
	seen []bool // by page
	sums []uint32
	read int64 // number of pages
	buf  []byte
}

// page reads a page, with its overflow pages, that no other page has named. It
// returns the values in its header, and its bytes. The bytes are valid until
// the next call.
func (w *pageWalk) page(id uint64) (flags uint16, count int, raw []byte, err error) {
	if id >= w.end {
		return 0, 0, nil, w.bad(id, "is beyond the end")
	}
	if err := w.fill(id, 0, 1); err != nil {
		return 0, 0, nil, err
	}
	order := binary.NativeEndian
	overflow := uint64(order.Uint32(w.buf[12:]))
	switch {
	case order.Uint64(w.buf) != id:
		return 0, 0, nil, w.bad(id, "is another one")
	case id+overflow >= w.end:
		return 0, 0, nil, w.bad(id, "goes beyond the end")
	}
	for i := id; i <= id+overflow; i++ {
		if w.seen[i] {
			return 0, 0, nil, w.bad(i, "is used twice")
		}
		w.seen[i] = true
	}
	if err := w.fill(id, 1, 1+overflow); err != nil {
		return 0, 0, nil, err
	}
	for i := uint64(0); i <= overflow; i++ {
		w.sums[id+i] = pageSum(id+i, w.buf[int64(i)*w.size:int64(i+1)*w.size]) //nolint:gosec // within buf
	}
	w.read += int64(1 + overflow) //nolint:gosec // within the file's size
	return order.Uint16(w.buf[8:]), int(order.Uint16(w.buf[10:])), w.buf, nil
}

// fill reads pages from id on into buf, until buf has want pages. It already
// has the first have pages.
func (w *pageWalk) fill(id, have, want uint64) error {
	w.buf = slices.Grow(w.buf[:int64(have)*w.size], int(int64(want-have)*w.size))[:int64(want)*w.size] //nolint:gosec // within the file's size
	if have == want {
		return nil
	}
	_, err := w.file.ReadAt(w.buf[int64(have)*w.size:], int64(id+have)*w.size) //nolint:gosec // within the file's size
	return err
}

func (w *pageWalk) bad(id uint64, what string) error {
	return fmt.Errorf("%w: its page %d %s", ErrDamaged, id, what)
}

// tree looks at the tree below a page, with the buckets in it. It always ends,
// because it returns an error for a page that occurs twice.
func (w *pageWalk) tree(root uint64) error {
	for todo := []uint64{root}; len(todo) > 0; {
		id := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		flags, count, raw, err := w.page(id)
		if err != nil {
			return err
		}
		var below []uint64
		switch flags {
		case flagBranch:
			below, err = branchPages(raw, count)
		case flagLeaf:
			below, err = leafPages(raw, count)
		default:
			err = errors.New("is of no kind that belongs into the tree")
		}
		if err != nil {
			return w.bad(id, err.Error())
		}
		todo = append(todo, below...)
	}
	return nil
}

var errBounds = errors.New("has elements beyond its end")

// within reports whether the n bytes at a position relative to an element are
// in the page.
func within(raw []byte, element int, pos, n uint64) bool {
	return uint64(element)+pos+n <= uint64(len(raw)) //nolint:gosec // not negative
}

func branchPages(raw []byte, count int) ([]uint64, error) {
	if count == 0 {
		return nil, errors.New("is empty")
	}
	if pageHeader+count*branchElement > len(raw) {
		return nil, errBounds
	}
	order := binary.NativeEndian
	pages := make([]uint64, 0, count)
	for i := range count {
		at := pageHeader + i*branchElement
		e := raw[at:]
		if !within(raw, at, uint64(order.Uint32(e)), uint64(order.Uint32(e[4:]))) {
			return nil, errBounds
		}
		pages = append(pages, order.Uint64(e[8:]))
	}
	return pages, nil
}

// leafPages returns the root pages of the buckets in a leaf.
func leafPages(raw []byte, count int) (pages []uint64, err error) {
	order := binary.NativeEndian
	err = eachLeaf(raw, count, func(bucket bool, value []byte) error {
		if !bucket {
			return nil
		}
		if len(value) < bucketHeader {
			return errors.New("has a bucket without a root")
		}
		if root := order.Uint64(value); root != 0 {
			pages = append(pages, root)
			return nil
		}
		// A small bucket is stored in the value itself, as a leaf page. It contains no
		// other buckets.
		inline := value[bucketHeader:]
		if len(inline) < pageHeader || order.Uint16(inline[8:]) != flagLeaf {
			return errors.New("has a small bucket that is none")
		}
		return eachLeaf(inline, int(order.Uint16(inline[10:])), func(bucket bool, _ []byte) error {
			if bucket {
				return errors.New("has a bucket in a small bucket")
			}
			return nil
		})
	})
	return pages, err
}

// eachLeaf calls fn with the value of each row of a leaf.
func eachLeaf(raw []byte, count int, fn func(bucket bool, value []byte) error) error {
	if pageHeader+count*leafElement > len(raw) {
		return errBounds
	}
	order := binary.NativeEndian
	for i := range count {
		at := pageHeader + i*leafElement
		e := raw[at:]
		pos, key, value := uint64(order.Uint32(e[4:])), uint64(order.Uint32(e[8:])), uint64(order.Uint32(e[12:]))
		if !within(raw, at, pos, key+value) {
			return errBounds
		}
		start := uint64(at) + pos + key //nolint:gosec // not negative
		if err := fn(order.Uint32(e)&leafIsBucket != 0, raw[start:start+value]); err != nil {
			return err
		}
	}
	return nil
}

// free looks at the list of free pages.
func (w *pageWalk) free(id uint64) error {
	if id == noFreelist { // bbolt's own rescue tool leaves no list; the library makes one
		return nil
	}
	flags, n, raw, err := w.page(id)
	if err != nil {
		return err
	}
	return eachFree(raw, flags, n, w.end, func(page uint64) error {
		if w.seen[page] {
			return w.bad(page, "is in use, or twice, among the free ones")
		}
		w.seen[page] = true
		return nil
	}, func(what string) error { return w.bad(id, what) })
}

// eachFree calls fn with each page of a list of free pages. It returns an error
// for a page that is not below end.
func eachFree(raw []byte, flags uint16, n int, end uint64, fn func(uint64) error, bad func(string) error) error {
	if flags != flagFreelist {
		return bad("is no list of free pages")
	}
	order := binary.NativeEndian
	count, ids := uint64(n), raw[pageHeader:] //nolint:gosec // not negative
	if count == countAside {
		count, ids = order.Uint64(ids), ids[8:]
	}
	if count > uint64(len(ids)/8) {
		return bad(errBounds.Error())
	}
	for i := range count {
		page := order.Uint64(ids[8*i:])
		if page >= end {
			return bad("names a free page beyond the end")
		}
		if err := fn(page); err != nil {
			return err
		}
	}
	return nil
}
