package tar

import (
	stdtar "archive/tar"
	"io"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/internal/sys"
)

// hardLink gives an existing file another name. The entry's other attributes
// are those of the file or wrong, and are ignored (M3).
func (u *reading) hardLink(p string, hdr *stdtar.Header) error {
	// A target is looked up as a process chrooted in the layer would: the root's
	// parent is the root.
	target, err := cleanPath(path.Clean("/"+hdr.Linkname), u.limits.PathDepth, maxName)
	if err != nil {
		return invalid("hard link to %q: %w", hdr.Linkname, err)
	}
	f, err := u.find(target)
	if err != nil {
		return err
	}
	switch {
	case !f.exists && u.opts.Detached && target != ".":
		return ErrNeedsParents
	case !f.exists && u.do.lostParents():
		return u.unknown(p)
	case !f.exists:
		return invalid("hard link to %q, which does not exist", hdr.Linkname)
	case f.node == nil && f.attrs.IsDir(), f.node != nil && f.node.kind == kindDir:
		return u.conflict("hard link to %q, which is a directory", hdr.Linkname)
	}
	dir, base := splitPath(p)
	parent, err := u.resolveDir(dir) // before anything is made: it may ask to read again
	if err != nil {
		return err
	}
	from := f.node
	if from == nil {
		if from, err = u.copyUp(f.path); err != nil {
			return err
		}
	}
	return u.do.link(from, parent, base)
}

func (u *unpacker) link(from, parent *node, base string) error {
	old, err := u.child(parent, base)
	if err != nil || old != nil && old.isAt(from) {
		return err // nil for a link to itself
	}
	if old == nil && from.pending.Load() && u.writers.inflight.Load() < maxAhead {
		return u.linkLater(from, parent, base)
	}
	if err := u.writers.wait(from); err != nil {
		return err
	}
	if old != nil && from.within(old) {
		// The directory that holds the target gives way to its new name.
		if err := u.rescue(from); err != nil {
			return err
		}
	}
	n, err := u.place(parent, base, from.kind)
	if err != nil {
		return err
	}
	u.setTarget(n, from.target)
	src, err := u.dirs.get(from.parent)
	if err != nil {
		return err
	}
	defer src.release()
	dst, err := u.dirs.get(parent)
	if err != nil {
		return err
	}
	defer dst.release()
	return sys.Linkat(src.fd, from.name, dst.fd, base)
}

// maxAhead is how many files may be in the making before a link waits for its
// target.
const maxAhead = 4 * queueLen

// unknown makes a node for a link to a file of which nothing is known.
func (u *reading) unknown(p string) error {
	dir, base := splitPath(p)
	parent, err := u.resolveDir(dir)
	if err != nil {
		return err
	}
	_, err = u.place(parent, base, kindOther)
	return err
}

// linkLater links to a file that is still being made, without waiting for it.
// Links to a link go to the first name, so that what waits does not form
// chains.
func (u *unpacker) linkLater(from, parent *node, base string) error {
	if from.first != nil {
		from = from.first
	}
	n, err := u.place(parent, base, from.kind)
	if err != nil {
		return err
	}
	u.setTarget(n, from.target)
	n.first = from
	src, err := u.dirs.get(from.parent)
	if err != nil {
		return err
	}
	dst, err := u.dirs.get(parent)
	if err != nil {
		src.release()
		return err
	}
	j := &job{node: n, dir: dst, from: src, name: base, path: u.name, pos: u.tape.start}
	target := from.name
	j.do = func(_ *maker, j *job) error { return sys.Linkat(j.from.fd, target, j.dir.fd, j.name) }
	if u.writers.addAfter(from, j) {
		return nil
	}
	// It is there by now. Nothing keeps it there while a job is in the queue.
	defer src.release()
	defer dst.release()
	return j.do(u.maker, j)
}

// rescuedName starts as a marker does, so no entry of a layer ever has it.
const rescuedName = ".wh..rescued"

// rescue moves a file out of a directory that is about to be removed: to a name
// in the staging directory that is not part of the layer, and hidden from it.
func (u *unpacker) rescue(n *node) error {
	src, err := u.dirs.get(n.parent)
	if err != nil {
		return err
	}
	defer src.release()
	name := rescuedName + strconv.Itoa(u.rescued)
	u.rescued++
	if err := sys.Renameat2(src.fd, n.name, int(u.staging.Fd()), name, 0); err != nil {
		return err
	}
	if n.parent.child(n.name) == n { // else it was forgotten
		n.parent.dir.children.drop(n)
		u.kept -= n.cost()
	}
	n.parent, n.name, n.hidden = u.root, name, true
	u.root.add(n)
	u.kept += n.cost()
	return nil
}

// copyUp makes a file of the parents part of the layer, so that a hard link to
// it shares its inode (H2).
func (u *reading) copyUp(p string) (*node, error) {
	dir, base := splitPath(p)
	parent, err := u.resolveDir(dir)
	if err != nil {
		return nil, err
	}
	attrs, in, name, ok, err := u.parents.lookup(p)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, &fs.PathError{Op: "lookup", Path: p, Err: fs.ErrNotExist}
	}
	xattrs, err := in.LookupXattrs(name)
	if err != nil {
		return nil, err
	}
	n, err := u.place(parent, base, kindOther)
	if err != nil {
		return nil, err
	}
	if attrs.IsSymlink() {
		target, err := in.Readlink(name)
		if err != nil {
			return nil, err
		}
		n.kind = kindSymlink
		u.setTarget(n, target)
	}
	c := copied{path: strings.Clone(p), by: strings.Clone(u.name), pos: u.tape.start}
	u.copied = append(u.copied, c)
	u.kept += int64(len(c.path) + len(c.by) + copiedCost) // as in setTarget
	return n, u.do.copy(n, p, attrs, nodeAttrs(attrs, xattrs, u.opts.Encoding), in, name)
}

// copy makes a file of the parents a file of the staging directory.
func (u *unpacker) copy(n *node, p string, from diff.Node, a attributes, in diff.Dir, name string) error {
	h, err := u.dirs.get(n.parent)
	if err != nil {
		return err
	}
	defer h.release()
	j := &job{node: n, dir: h, name: n.name, path: p, attrs: a}
	switch {
	case from.IsRegular():
		return u.copyFile(j, in, name)
	case from.IsSymlink():
		return u.maker.symlink(j, n.target)
	default:
		return u.maker.special(j, from.Type(), from.Rdev)
	}
}

// A copied is a file of the parents that a hard link made part of the layer.
type copied struct {
	path string
	by   string // the entry
	pos  int64
}

// copiedCost is what a copied takes in bytes beside its paths.
const copiedCost = 64

// checkCopied refuses hard links to files that the layer's markers remove: all
// removals happen first, so there was nothing to link to (H4).
func (u *reading) checkCopied() error {
	for _, c := range u.copied {
		if u.marks.removes(c.path) {
			return atEntry(c.by, c.pos, invalid("hard link to %q, which this layer removes from its parents", c.path))
		}
	}
	return nil
}

func (u *unpacker) copyFile(j *job, in diff.Dir, name string) error {
	src, err := in.Open(name)
	if err != nil {
		return err
	}
	defer src.Close()
	fd, err := u.maker.create(j)
	if err != nil {
		return err
	}
	_, err = u.copyBody(fd, onlyReader{src})
	return u.maker.complete(fd, j, j.attrs.Mode&^u.maker.masked&0o777, err)
}

// onlyReader hides what else a reader can do.
type onlyReader struct{ io.Reader }
