package tar

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/sys"
	"github.com/layerkeep/layerkeep/internal/whiteout"
)

// keep counts n bytes of memory that are needed until the end of the layer, and
// enforces the limit. Each time another quarter of the limit is used, it calls
// forget, which drops what can be read again from disk.
func (u *reading) keep(n int64) error {
	u.kept += n
	limit := u.limits.Memory
	if u.forgetAt == 0 {
		u.forgetAt = limit / 4
	}
	if u.used() <= u.forgetAt && !u.opts.forgetful {
		return nil
	}
	if err := u.do.forget(); err != nil {
		return err
	}
	used := u.used()
	// Forgetting must free some room. Otherwise the next entries would each call
	// forget, and that would take most of the time.
	if used > limit-limit/16 {
		return invalid("what has to be known of its entries takes more than %d bytes of memory (--limit memory=SIZE allows more)", limit)
	}
	u.forgetAt = min(limit, used+limit/4)
	return nil
}

// setTarget sets the target of the symbolic link of a node. It does not enforce
// the limit; the next entry does. The node must not be forgotten before the
// link is handed to a writer.
func (u *reading) setTarget(n *node, target string) {
	n.target = target
	u.kept += int64(len(target))
}

func (u *reading) used() int64 { return u.kept + u.marks.made().bytes }

// child returns the node of a name in a directory, or nil if there is no such
// file.
func (u *reading) child(parent *node, name string) (*node, error) {
	c := parent.child(name)
	if c != nil || parent.dir == nil || !parent.dir.partial {
		return c, nil
	}
	return u.do.recall(parent, name)
}

// markOf returns the mark of a directory. It makes the mark if there is none.
func (u *reading) markOf(n *node) *mark {
	if n.dir.mark == nil {
		if n.parent == nil {
			n.dir.mark = u.marks
		} else {
			n.dir.mark = u.markOf(n.parent).make(n.name)
		}
	}
	return n.dir.mark
}

// forget drops the nodes of all files except directories, because the staging
// directory still has the files. Most files are not directories, so the memory
// that stays in use grows with the number of directories. forget keeps the
// nodes of hidden files: their names on disk differ from their names in the
// layer.
func (u *unpacker) forget() error {
	if err := u.writers.drain(); err != nil {
		return err
	}
	for dirs := []*node{u.root}; len(dirs) > 0; {
		d := dirs[len(dirs)-1]
		dirs = dirs[:len(dirs)-1]
		fewer := d.dir.children.keep(func(n *node) bool {
			if n.kind != kindDir && !n.hidden {
				u.kept -= n.cost()
				return false
			}
			if n.kind == kindDir {
				dirs = append(dirs, n)
			}
			return true
		})
		d.dir.partial = d.dir.partial || fewer
	}
	return nil
}

// recall makes a new node for a file whose node was forgotten. It returns nil
// if the file does not exist.
func (u *unpacker) recall(parent *node, name string) (*node, error) {
	if len(name) > maxName || strings.HasPrefix(name, whiteout.Prefix) {
		return nil, nil // no file of a layer has such a name, but a file of the unpacker may
	}
	h, err := u.dirs.get(parent)
	if err != nil {
		return nil, err
	}
	defer h.release()
	st, exists, err := lstat(h.fd, name)
	if !exists || err != nil {
		return nil, err
	}
	n := newNode(parent, name, kindOther)
	n.hidden = parent.hidden
	if st.Mode&unix.S_IFMT == unix.S_IFLNK {
		n.kind = kindSymlink
		buf := make([]byte, maxTarget+1)
		size, err := unix.Readlinkat(h.fd, name, buf)
		if err != nil {
			return nil, &os.PathError{Op: "readlink", Path: name, Err: err}
		}
		n.target = string(buf[:size])
	}
	parent.add(n)
	u.kept += n.cost()
	return n, nil
}

// unlinkForgotten removes the files of a directory that have no nodes.
func (u *unpacker) unlinkForgotten(n *node) error {
	h, err := u.dirs.get(n)
	if err != nil {
		return err
	}
	defer h.release()
	return takeAll(h.fd, func(e dirent) (bool, error) { return true, sys.Unlinkat(h.fd, e.name) })
}
