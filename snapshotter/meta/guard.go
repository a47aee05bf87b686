package meta

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
)

// errBroken is in an error that was a panic.
var errBroken = errors.New("the database cannot be used any more")

// guard runs fn. When the database library panics, or memory that it maps
// cannot be read, guard returns ErrDamaged and errBroken: the file is damaged
// or the disk fails. Other panics continue. After a panic the library may never
// release its locks, so the caller must not call it again.
func guard(fn func() error) (err error) {
	// When a file is shorter than it says, or cannot be read, reading the mapped
	// memory is a fault. It would end the process if it were not turned into a
	// panic.
	faults := debug.SetPanicOnFault(true)
	defer debug.SetPanicOnFault(faults)
	defer func() {
		if p := recover(); p != nil {
			if !isLibrary(p) {
				panic(p)
			}
			err = fmt.Errorf("%w: %w: %v", ErrDamaged, errBroken, p)
		}
	}()
	return fn()
}

// isLibrary reports whether a panic is a fault in memory, or comes from the
// library. It must be called by the deferred function, because it finds the
// panic on the stack.
func isLibrary(p any) bool {
	if _, ok := p.(interface{ Addr() uintptr }); ok {
		return true
	}
	var pcs [64]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(1, pcs[:])])
	panicking := false
	for {
		frame, more := frames.Next()
		switch {
		case frame.Function == "runtime.gopanic":
			panicking = true
		case panicking && !strings.HasPrefix(frame.Function, "runtime."):
			return strings.HasPrefix(frame.Function, "go.etcd.io/bbolt")
		}
		if !more {
			return false
		}
	}
}
