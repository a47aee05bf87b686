package tar

import (
	"github.com/layerkeep/layerkeep/internal/sys"
	"github.com/layerkeep/layerkeep/internal/whiteout"
)

// place makes room for a new node, removing what the layer had there. Of a
// directory it makes the directory too.
func (u *reading) place(parent *node, base string, kind nodeKind) (*node, error) {
	if int(parent.depth) >= u.limits.PathDepth {
		return nil, u.conflict("path is more than %d levels deep", u.limits.PathDepth)
	}
	if err := u.checkLength(base); err != nil {
		return nil, err
	}
	// Symbolic links can lead to such a name, though no entry has one.
	if w, _, err := whiteout.Parse(base); (w != whiteout.None || err != nil) &&
		(parent.parent != nil || base != whiteout.AUFSPseudo) {
		return nil, u.conflict("a path below the marker %q", base)
	}
	old := parent.child(base)
	if old != nil {
		if err := u.remove(old); err != nil {
			return nil, err
		}
	}
	n := &node{parent: parent, name: base, kind: kind, depth: parent.depth + 1}
	if kind == kindDir {
		n = newDirNode(parent, base)
		n.cut = old != nil
	}
	n.hidden = parent.hidden || parent.parent == nil && base == whiteout.AUFSPseudo
	if kind == kindDir {
		if err := u.do.mkdir(n); err != nil {
			return nil, err
		}
	}
	parent.add(n)
	return n, nil
}

// checkLength refuses a name that nothing can have.
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
		for _, c := range n.dir.children {
			if err := u.remove(c); err != nil {
				return err
			}
		}
	}
	n.dead = true
	delete(n.parent.dir.children, n.name)
	return u.do.unlink(n)
}

// mkdir makes a directory in the staging directory.
func (u *unpacker) mkdir(n *node) error {
	h, err := u.dirs.get(n.parent)
	if err != nil {
		return err
	}
	defer h.release()
	return sys.Mkdirat(h.fd, n.name, 0o700)
}

// await waits for the writers of a file, and for all of them before a directory
// is removed: they may be at what is below it.
func (u *unpacker) await(n *node) error {
	if n.kind == kindDir {
		return u.writers.drain()
	}
	return u.writers.wait(n)
}

// unlink removes a file or an empty directory from the staging directory.
func (u *unpacker) unlink(n *node) error {
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
