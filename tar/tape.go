package tar

import (
	"io"
)

// A tape sits between the stream and the tar reader. It counts, and it keeps
// the raw bytes of the header being read, so that the stream can be read again
// from that entry on.
type tape struct {
	r         io.Reader
	pos       int64 // offset in the uncompressed stream
	limit     int64 // of the header's bytes
	recording bool
	skip      int   // padding of the entry before, which is not recorded
	start     int64 // where the recorded header starts
	header    []byte
	err       error // the stream's own error, other than io.EOF
}

// headerSlack is what a header takes beside its extended part: the blocks of an
// extended header, long name, long link name, and of the entry itself.
const headerSlack = 8 << 10

// record starts recording the header that comes next. The body of the entry
// before must have been read.
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
