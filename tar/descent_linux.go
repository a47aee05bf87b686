package tar

import (
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/sys"
)

// A descent is a way down a tree of directories. Only the lowest maxDescent of
// them are open; one above is opened again, as the directory above, when the
// way leads back to it. So a tree of any depth takes a fixed number of
// descriptors.
type descent struct{ dirs []*openDir }

// An openDir is a directory of a descent. It is open unless the way is far
// below.
type openDir struct {
	fd int // -1 while it is closed
	id sys.Identity
}

const maxDescent = 32

// push goes down into an open directory, which is the descent's from now on.
func (d *descent) push(fd int) (*openDir, error) {
	dir := &openDir{fd: fd}
	d.dirs = append(d.dirs, dir)
	if n := len(d.dirs) - 1 - maxDescent; n >= 0 {
		return dir, d.dirs[n].shut()
	}
	return dir, nil
}

func (o *openDir) shut() (err error) {
	if o.fd < 0 {
		return nil
	}
	if o.id, _, err = sys.Identify(o.fd); err != nil {
		return err
	}
	unix.Close(o.fd)
	o.fd = -1
	return nil
}

// pop closes the lowest directory; the one above it is open afterwards.
func (d *descent) pop() error {
	n := len(d.dirs) - 1
	low := d.dirs[n]
	d.dirs = d.dirs[:n]
	var err error
	if n > 0 && d.dirs[n-1].fd < 0 {
		up := d.dirs[n-1]
		up.fd, err = sys.OpenAbove(low.fd, up.id) // -1 with an error
	}
	unix.Close(low.fd)
	low.fd = -1
	return err
}

// close closes what is still open, after an error.
func (d *descent) close() {
	for _, o := range d.dirs {
		if o.fd >= 0 {
			unix.Close(o.fd)
		}
	}
	d.dirs = nil
}
