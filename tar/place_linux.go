package tar

import (
	"strings"

	"github.com/layerkeep/layerkeep/internal/sys"
	"github.com/layerkeep/layerkeep/internal/whiteout"
)

// place makes a new node, and removes what the layer had at its path. For a
// directory it also makes the directory.
func (u *reading) place(parent *node, base string, kind nodeKind) (*node, error) {
	if int(parent.depth) >= u.limits.PathDepth {
		return nil, u.conflict("path is more than %d levels deep", u.limits.PathDepth)
	}
	if int(parent.length)+1+len(base) > MaxPath {
		return nil, u.conflict("path has more than %d bytes", MaxPath)
	}
	if err := u.checkLength(base); err != nil {
		return nil, err
	}
	// No entry has such a name, but symbolic links can lead to one.
	if w, _, err := whiteout.Parse(base); (w != whiteout.None || err != nil) &&
		(parent.parent != nil || base != whiteout.AUFSPseudo) {
		return nil, u.conflict("a path below the marker %q", base)
	}
	old, err := u.child(parent, base)
	if err != nil {
		return nil, err
	}
	if old != nil {
		if err := u.remove(old); err != nil {
			return nil, err
		}
	}
	base = strings.Clone(base) // a clone, so that the node does not keep the whole path in memory
	n := newNode(parent, base, kind)
	if kind == kindDir {
		n = newDirNode(parent, base)
		n.cut = old != nil
	}
	n.hidden = parent.hidden || parent.parent == nil && base == whiteout.AUFSPseudo
	n.blind = parent.blind || n.cut || n.hidden
	if err := u.keep(n.cost()); err != nil {
		return nil, err
	}
	if kind == kindDir {
		if err := u.do.mkdir(n); err != nil {
			return nil, err
		}
	}
	parent.add(n)
	return n, nil
}

// checkLength returns an error for a name that is too long.
func (u *reading) checkLength(name string) error {
	if len(name) > u.longest {
		return tooLong(name, u.longest)
	}
	return nil
}

// remove removes a node and what is below it from the layer.
func (u *reading) remove(n *node) error {
	u.lastNode = nil
	if err := u.do.await(n); err != nil {
		return err
	}
	if n.kind == kindDir {
		for c := range n.dir.children.all() {
			if err := u.remove(c); err != nil {
				return err
			}
		}
	}
	n.dead = true
	n.parent.dir.children.drop(n)
	u.kept -= n.cost()
	return u.do.unlink(n)
}

// mkdir makes a directory in the staging directory.
func (u *unpacker) mkdir(n *node) error {
	if err := u.room.take(roomFile); err != nil {
		return err
	}
	h, err := u.dirs.get(n.parent)
	if err != nil {
		return err
	}
	defer h.release()
	return sys.Mkdirat(h.fd, n.name, 0o700)
}

// await waits for the writer of a file. Before a directory is removed it waits
// for all writers, because they may be working below it.
func (u *unpacker) await(n *node) error {
	if n.kind == kindDir {
		return u.writers.drain()
	}
	return u.writers.wait(n)
}

// unlink removes a file or an empty directory from the staging directory.
func (u *unpacker) unlink(n *node) error {
	if n.kind == kindDir && n.dir.partial {
		if err := u.unlinkForgotten(n); err != nil {
			return err
		}
	}
	if n.kind == kindDir && n.dir.handle != nil {
		u.dirs.drop(n.dir.handle)
	}
	h, err := u.dirs.get(n.parent)
	if err != nil {
		return err
	}
	defer h.release()
	if n.kind == kindDir {
		return sys.Rmdirat(h.fd, n.name)
	}
	return sys.Unlinkat(h.fd, n.name)
}

func (u *unpacker) lostParents() bool { return false }

func (u *unpacker) failed() error { return u.writers.error() }

func (u *unpacker) warn(path, message string) { u.maker.warn(path, message) }
