package cutdisk

import (
	"fmt"
	"slices"
)

// Index returns the number of records that were whole in the log at a position;
// see [Disk.Position]. One that was being written then was not acknowledged
// yet.
func (l *Log) Index(position int64) (int, error) {
	n, found := slices.BinarySearch(l.ends, position)
	switch {
	case found:
		return n + 1, nil
	case n == len(l.ends) && position > 0:
		return 0, fmt.Errorf("%w: position %d is after its end", errLog, position)
	}
	return n, nil
}

// Durable returns how many of the first n records are on the disk whatever
// happens: those up to the last flush.
func (l *Log) Durable(n int) int {
	for ; n > 0; n-- {
		if l.Records[n-1].Kind == Flush {
			return n
		}
	}
	return 0
}

// Tail returns what a cut after n records may lose.
func (l *Log) Tail(n int) []Record { return l.Records[l.Durable(n):n] }
