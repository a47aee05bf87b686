package cutdisk

import (
	"fmt"
	"io"
	"math/rand/v2"
)

// A Cut is a power cut: which record of a log was the last that was done, and
// what of the records after the last flush before it is on the disk all the
// same.
type Cut struct {
	// At is the number of records that were done.
	At int
	// Kept has an element for each record of [Log.Tail].
	Kept []Kept
}

// Kept is what is on the disk of one record.
type Kept struct {
	// From and To are the part of it that is there, in bytes from its beginning. To
	// is 0 for a record that was lost.
	From, To int64
}

func (k Kept) write(w io.WriterAt, r Record) error {
	if k.To <= k.From || r.Kind == Flush {
		return nil
	}
	b := r.Data
	if r.Kind == Zero {
		b = make([]byte, r.Length)
	}
	_, err := w.WriteAt(b[k.From:k.To], r.Offset+k.From)
	return err
}

// RandomCut cuts after n records. One in four cuts loses all that it can, one
// in four nothing; the others lose any subset, and tear some of the rest: of a
// write that is longer than a sector only the beginning or only the end is
// there.
func (l *Log) RandomCut(n int, sector int64, random *rand.Rand) Cut {
	tail := l.Tail(n)
	c := Cut{At: n, Kept: make([]Kept, len(tail))}
	losing := random.IntN(4)
	odds := 1 + random.IntN(9) // of ten, that a record is kept
	for i, r := range tail {
		switch {
		case losing == 0 || losing > 1 && random.IntN(10) >= odds:
		case losing > 1 && r.Length > sector && random.IntN(4) == 0:
			at := sector * (1 + random.Int64N((r.Length-1)/sector))
			if random.IntN(2) == 0 {
				c.Kept[i] = Kept{From: at, To: r.Length}
			} else {
				c.Kept[i] = Kept{To: at}
			}
		default:
			c.Kept[i] = Kept{To: r.Length}
		}
	}
	return c
}

// String says what the cut does: "after record 120: of 14 since the last flush
// 5 are lost and 2 torn".
func (c Cut) String() string {
	lost, torn := 0, 0
	for _, k := range c.Kept {
		switch {
		case k.To == 0:
			lost++
		case k.From > 0:
			torn++
		}
	}
	return fmt.Sprintf("after record %d: of %d since the last flush %d are lost and at least %d torn", c.At, len(c.Kept), lost, torn)
}

// Loses reports whether the disk loses a write of the log, or a part of one.
func (c Cut) Loses(l *Log) bool {
	for i, r := range l.Tail(c.At) {
		if r.Kind != Flush && c.Kept[i] != (Kept{To: r.Length}) {
			return true
		}
	}
	return false
}

// CutKeeping cuts after n records so that of those that may be lost the first
// are kept, up to the one before last, and all others are lost.
func (l *Log) CutKeeping(n, last int) Cut {
	first := l.Durable(n)
	c := Cut{At: n, Kept: make([]Kept, n-first)}
	for i := first; i < min(n, last); i++ {
		c.Kept[i-first] = Kept{To: l.Records[i].Length}
	}
	return c
}
