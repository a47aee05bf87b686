package tar

import (
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/sys"
)

// A descent is the path from the root to the current directory in a walk of a
// tree. Only the lowest maxDescent directories are open. A directory above is
// opened again, as ".." of the one below it, when the walk comes back to it. So
// a tree of any depth needs a fixed number of descriptors.
type descent struct{ dirs []*openDir }

// An openDir is a directory of a descent. It is closed while the walk is far
// below it.
type openDir struct {
	fd int // -1 while it is closed
	id sys.Identity
}

const maxDescent = 32

// push adds an open directory at the bottom. The descent then owns the
// descriptor.
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

// pop closes the lowest directory and makes sure that the one above it is open.
func (d *descent) pop() error {
	n := len(d.dirs) - 1
	low := d.dirs[n]
	d.dirs = d.dirs[:n]
	var err error
	if n > 0 && d.dirs[n-1].fd < 0 {
		up := d.dirs[n-1]
		up.fd, err = sys.OpenAbove(low.fd, up.id) // up.fd is -1 after an error
	}
	unix.Close(low.fd)
	low.fd = -1
	return err
}

// close closes all directories that are still open, after an error.
func (d *descent) close() {
	for _, o := range d.dirs {
		if o.fd >= 0 {
			unix.Close(o.fd)
		}
	}
	d.dirs = nil
}
