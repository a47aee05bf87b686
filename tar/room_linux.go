package tar

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// A room watches over the free space of the file system while a layer is
// written to it. A layer that would fill it up is refused before that happens,
// so that there is room left for others, and for removing things. How many
// bytes a layer announces says little of that, as they may be zeros and become
// holes.
type room struct {
	fd    int
	since int64 // bytes written since it was looked at last
}

const (
	// roomEvery is after how many bytes the free space is looked at.
	roomEvery = 32 << 20
	// roomKept is how many bytes stay free, or a hundredth of the file system when
	// that is less.
	roomKept = 64 << 20
	// roomFile is about what a file takes beside its body: millions of empty ones
	// fill up a file system, too.
	roomFile = 4 << 10
)

// take is told that n bytes were or will be written. It returns an error once
// too little space is free.
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
