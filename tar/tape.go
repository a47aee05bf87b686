package tar

import (
	"io"
)

// A tape sits between the stream and the tar reader. It counts bytes, and keeps
// the raw bytes of the current header, so that the stream can be read again
// from this entry on.
type tape struct {
	r         io.Reader
	pos       int64 // offset in the uncompressed stream
	limit     int64 // of the header, in bytes
	recording bool
	skip      int   // bytes of padding after the entry before; they are not recorded
	start     int64 // offset at which the recorded header starts
	header    []byte
	err       error // the error of the stream, other than io.EOF
}

// headerSlack is the size in bytes of a header without its extended records:
// the blocks of an extended header, a long name, a long link name, and the
// entry itself.
const headerSlack = 8 << 10

// record starts to record the next header. The caller has read the body of the
// entry before.
func (t *tape) record() {
	t.skip = int(-t.pos & 511)
	t.start = t.pos + int64(t.skip)
	t.header = t.header[:0]
	t.recording = true
}

func (t *tape) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	t.pos += int64(n)
	if err != nil && err != io.EOF {
		t.err = err
	}
	if t.recording && n > 0 {
		pad := min(t.skip, n)
		t.skip -= pad
		t.header = append(t.header, p[pad:n]...)
		if int64(len(t.header)) > t.limit+headerSlack {
			t.err = invalid("an extended header of more than %d bytes", t.limit)
			return n, t.err
		}
	}
	return n, err
}
