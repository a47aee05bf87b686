package tar

import (
	"fmt"
	"math"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/attrs"
	"github.com/layerkeep/layerkeep/internal/sys"
)

// lostTimes finds the modification times of a layer that the file system cannot
// store. The kernel silently stores the nearest time that it can. A diff of the
// layer then differs from the layer. There is one warning for all times outside
// the range, and one for all times that are too precise.
type lostTimes struct {
	dirfd int // the directory for the probe file

	mu    sync.Mutex
	known bool
	first int64 // earliest and latest time, in seconds since 1970
	last  int64
	unit  int64 // precision, in nanoseconds

	outside, coarse lostTime
}

// lostTime is the data for one warning.
type lostTime struct {
	tally // its path is the first in byte order
	time  time.Time
}

func (l *lostTime) add(path string, t time.Time) {
	if l.files == 0 || path < l.path {
		l.path, l.time = path, t
	}
	l.files++
}

// note checks a time before it is set on a file.
func (l *lostTimes) note(path func() string, t time.Time) error {
	seconds, fraction := t.Unix(), int64(t.Nanosecond())
	if 0 <= seconds && seconds < math.MaxInt32 && fraction == 0 {
		return nil // every file system can store these
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.learn(); err != nil {
		return err
	}
	switch {
	case seconds < l.first, seconds > l.last, fraction != 0 && (seconds == l.first || seconds == l.last):
		l.outside.add(path(), t)
	case fraction%l.unit != 0:
		l.coarse.add(path(), t)
	}
	return nil
}

// learn sets times on a probe file, to learn which times the file system can
// store. No system call tells: it depends on the options with which the file
// system was made.
func (l *lostTimes) learn() error {
	if l.known {
		return nil
	}
	return tryOn(l.dirfd, timeProbeName, 0o600, l.learnFrom)
}

func (l *lostTimes) learnFrom(fd int) (err error) {
	kept := func(t time.Time) time.Time {
		if err == nil {
			err = attrs.Open(fd).SetTimes(t)
		}
		var st unix.Stat_t
		if err == nil {
			st, err = sys.Fstat(fd)
		}
		return time.Unix(st.Mtim.Unix())
	}
	l.first, l.last = kept(time.Unix(math.MinInt64, 0)).Unix(), kept(time.Unix(math.MaxInt64, 0)).Unix()
	const most = 1e9 - 1
	l.unit = 1 + most - int64(kept(time.Unix(1, most)).Nanosecond())
	l.known = err == nil
	return err
}

// report gives the warnings.
func (l *lostTimes) report(warn func(path, message string)) {
	const after = "; a diff of the layer has the time that the file has, and so another digest"
	if o := &l.outside; o.files > 0 {
		warn(o.path, fmt.Sprintf("modification time %s cannot be kept: this file system holds times from %s to %s, and the nearest was taken%s%s",
			timeText(o.time), timeText(time.Unix(l.first, 0)), timeText(time.Unix(l.last, 0)), o.others(), after))
	}
	if c := &l.coarse; c.files > 0 {
		warn(c.path, fmt.Sprintf("modification time %s cannot be kept: this file system holds times in steps of %v, and it was cut%s%s",
			timeText(c.time), time.Duration(l.unit), c.others(), after))
	}
}
