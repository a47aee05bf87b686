package snapshotter

import "golang.org/x/sys/unix"

// times returns the times of a file, in nanoseconds.
func times(st *unix.Stat_t) (modified, changed int64) { return st.Mtim.Nano(), st.Ctim.Nano() }
