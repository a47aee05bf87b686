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

// guard runs fn and returns ErrDamaged and errBroken where the database library
// panics, or memory that it maps cannot be read: both mean that the file is not
// what it should be, or that the disk fails. What else panics goes on. The
// library may hold locks for ever then, so it must not be called again.
func guard(fn func() error) (err error) {
	// A file that is shorter than it says, or cannot be read, faults in the mapped
	// memory. That ends the process where it is not made a panic.
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
// library. It looks at who called the deferred function that calls it: the
// stack is still that of the panic.
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
