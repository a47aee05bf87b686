package tar

import (
	"io"
	"math"
)

// A sparseBody is a body that knows where it has holes, as a file on disk does.
type sparseBody interface {
	// NextData returns the next part, from an offset on, that is no hole.
	NextData(at, size int64) (start, end int64, err error)
	SeekTo(at int64) error
}

// bodyHoles leads a reader of a body over its holes. They are written as zeros,
// but to read them takes longer, and fills the page cache.
type bodyHoles struct {
	body sparseBody // nil when there are none to be found
	size int64
	end  int64 // of the data that was found last
}

// leastSparse is the size in bytes from which a file is asked for holes.
const leastSparse = 256 << 10

func holesOf(body io.Reader, size int64) *bodyHoles {
	h := &bodyHoles{size: size}
	if s, ok := body.(sparseBody); ok && size >= leastSparse {
		h.body = s
	}
	return h
}

// skip returns how many bytes of a hole there are at an offset, which the body
// is not at any more, and how many bytes of data follow. The last byte of a
// file is always data: reading it shows that the file has not shrunk.
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
		h.end = math.MaxInt64 // so that growth shows
	}
	return start - at, h.end - start, h.body.SeekTo(start)
}

var zeroBlock [64 << 10]byte

// zeros writes zeros.
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
