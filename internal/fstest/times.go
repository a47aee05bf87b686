package fstest

import "time"

// Times are the modification times that a file system holds.
type Times struct {
	// First and Last are in seconds since 1970.
	First, Last int64
	// Unit is what all times are multiples of.
	Unit time.Duration
}

// Keep returns what becomes of a time: the nearest of the limits where it is
// outside, else what is left of it in whole units.
func (ts Times) Keep(t time.Time) time.Time {
	switch sec := t.Unix(); {
	case sec <= ts.First:
		return time.Unix(ts.First, 0)
	case sec >= ts.Last:
		return time.Unix(ts.Last, 0)
	default:
		return time.Unix(sec, int64(t.Nanosecond())/int64(ts.Unit)*int64(ts.Unit))
	}
}
