package tar

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// A room watches the free space of the file system while a layer is written. It
// stops a layer before the file system is full, so that some space is left for
// other programs and for removing files. The size that a layer announces does
// not help: its bytes may be zeros, which become holes.
type room struct {
	fd    int
	since int64 // bytes written since the last check
}

const (
	// roomEvery is the number of bytes between two checks of the free space.
	roomEvery = 32 << 20
	// roomKept is the number of bytes that stay free. On a small file system it is
	// a hundredth of its size instead, if that is less.
	roomKept = 64 << 20
	// roomFile is about what a file takes on disk in bytes beside its body.
	// Millions of empty files fill a file system too.
	roomFile = 4 << 10
)

// take counts n bytes that were written or will be written. It returns an error
// if too little space is free.
func (r *room) take(n int64) error {
	if r.since += n; r.since < roomEvery {
		return nil
	}
	r.since = 0
	var st unix.Statfs_t
	for {
		if err := unix.Fstatfs(r.fd, &st); !errors.Is(err, unix.EINTR) {
			if err != nil {
				return &os.PathError{Op: opWrite, Path: "layer file", Err: err}
			}
			break
		}
	}
	unit := int64(st.Frsize) //nolint:unconvert // 32 bits on some architectures
	if unit == 0 {
		unit = int64(st.Bsize) //nolint:unconvert // 32 bits on some architectures
	}
	free, total := int64(st.Bavail)*unit, int64(st.Blocks)*unit
	if kept := min(roomKept, total/100); total > 0 && free < kept {
		err := fmt.Errorf("%w: the layer does not fit, as %d bytes are left and %d stay free for others", unix.ENOSPC, free, kept)
		return &os.PathError{Op: opWrite, Path: "layer file", Err: err}
	}
	return nil
}
