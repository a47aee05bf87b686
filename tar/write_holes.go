package tar

import (
	"io"
	"math"
)

// A sparseBody is a body that can find its holes, as a file on disk can.
type sparseBody interface {
	// NextData returns the start and the end of the next part after offset at that
	// is not a hole.
	NextData(at, size int64) (start, end int64, err error)
	SeekTo(at int64) error
}

// bodyHoles lets a reader skip the holes of a body. They are written as zeros
// all the same, but reading them would take longer and fill the page cache.
type bodyHoles struct {
	body sparseBody // nil if the holes are unknown
	size int64
	end  int64 // of the data that was found last
}

// leastSparse is the smallest size, in bytes, of a file whose holes are
// searched.
const leastSparse = 256 << 10

func holesOf(body io.Reader, size int64) *bodyHoles {
	h := &bodyHoles{size: size}
	if s, ok := body.(sparseBody); ok && size >= leastSparse {
		h.body = s
	}
	return h
}

// skip returns the length of the hole at an offset, and the length of the data
// behind it, both in bytes. It moves the body past the hole. The last byte of a
// file always counts as data: reading it shows that the file has not shrunk.
func (h *bodyHoles) skip(at int64) (hole, data int64, err error) {
	if h.body == nil {
		return 0, math.MaxInt64, nil
	}
	if at < h.end {
		return 0, h.end - at, nil
	}
	start, end, err := h.body.NextData(at, h.size)
	if err != nil {
		return 0, 0, err
	}
	start = min(start, h.size-1)
	if h.end = max(end, start+1); h.end == h.size {
		h.end = math.MaxInt64 // so that a read behind the end detects growth
	}
	return start - at, h.end - start, h.body.SeekTo(start)
}

var zeroBlock [64 << 10]byte

// zeros writes n zero bytes.
func (lw *layerWriter) zeros(n int64) error {
	for n > 0 {
		if err := lw.ctx.Err(); err != nil {
			return err
		}
		w, err := lw.tar.Write(zeroBlock[:min(n, int64(len(zeroBlock)))])
		if err != nil {
			return err
		}
		n -= int64(w)
	}
	return nil
}
