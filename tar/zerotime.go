package tar

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"time"
)

// A headerFix is the writer below the tar writer of the standard library. That
// writer takes the zero time.Time, 0001-01-01T00:00:00Z, for "no time" and
// writes 1970 instead. But builders written in Go do give files that time. So
// for such a file the header is written with a time one second later, whose
// record has the same length. The headerFix holds it back until the record is
// corrected.
type headerFix struct {
	w    io.Writer
	held *bytes.Buffer // nil if nothing is held back
}

func (f *headerFix) Write(p []byte) (int, error) {
	if f.held != nil {
		return f.held.Write(p)
	}
	return f.w.Write(p)
}

// writeHeader writes the header of the current change.
func (lw *layerWriter) writeHeader() error {
	if !lw.header.ModTime.IsZero() {
		return lw.tar.WriteHeader(&lw.header)
	}
	if err := lw.tar.Flush(); err != nil {
		return err
	}
	lw.fix.held = &bytes.Buffer{}
	lw.header.ModTime = lw.header.ModTime.Add(time.Second)
	err := lw.tar.WriteHeader(&lw.header)
	header := lw.fix.held.Bytes()
	lw.fix.held = nil
	if err == nil {
		err = zeroTime(header)
	}
	if err == nil {
		_, err = lw.fix.w.Write(header)
	}
	return err
}

// isLater compares two times by their seconds since 1970. The methods of
// time.Time are wrong for times whose seconds since year 1 do not fit into 64
// bits, and a tar can have such times.
func isLater(a, b time.Time) bool {
	if x, y := a.Unix(), b.Unix(); x != y {
		return x > y
	}
	return a.Nanosecond() > b.Nanosecond()
}

// zeroTime sets the record "mtime" of an extended header to the zero time.
func zeroTime(header []byte) error {
	const block, key = 512, "mtime="
	want := []byte(key + strconv.FormatInt(time.Time{}.Unix(), 10) + "\n")
	for rest := header[min(block, len(header)):]; len(rest) > 0; {
		digits, _, _ := bytes.Cut(rest, []byte(" "))
		size, err := strconv.Atoi(string(digits))
		if err != nil || size <= len(digits)+1 || size > len(rest) {
			break // padding of the block
		}
		record := rest[len(digits)+1 : size]
		if bytes.HasPrefix(record, []byte(key)) && len(record) == len(want) {
			copy(record, want)
			return nil
		}
		rest = rest[size:]
	}
	return fmt.Errorf("the extended header has no time in it")
}
