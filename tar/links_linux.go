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

// hardLink gives an existing file another name. It ignores the other attributes
// of the entry: they repeat those of the file, or they are wrong (M3).
func (u *reading) hardLink(p string, hdr *stdtar.Header) error {
	// A target is looked up as a process chrooted in the layer would look it up:
	// the parent of the root is the root.
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
	parent, err := u.resolveDir(dir) // before any change, because it may return errAgain
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
		return err // a link to itself needs no work
	}
	if old == nil && from.pending.Load() && u.writers.inflight.Load() < maxAhead {
		return u.linkLater(from, parent, base)
	}
	if err := u.writers.wait(from); err != nil {
		return err
	}
	if old != nil && from.within(old) {
		// The new name replaces a directory that contains the target.
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

// maxAhead is the number of unfinished files up to which a link is queued
// instead of waiting for its target.
const maxAhead = 4 * queueLen

// unknown makes a node for a hard link whose target could not be read in the
// parents.
func (u *reading) unknown(p string) error {
	dir, base := splitPath(p)
	parent, err := u.resolveDir(dir)
	if err != nil {
		return err
	}
	_, err = u.place(parent, base, kindOther)
	return err
}

// linkLater queues a link to a file that a writer is still making. A link to a
// link is queued for the first name of the file, so that waiting jobs do not
// form chains.
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
	// The file exists by now. The link is made here: a queued job could run after a
	// later entry has removed the file.
	defer src.release()
	defer dst.release()
	return j.do(u.maker, j)
}

// rescuedName starts with the prefix of markers, so no entry of a layer can
// have such a name.
const rescuedName = ".wh..rescued"

// rescue moves a file out of a directory that is about to be removed. Its new
// name, in the staging directory, is hidden and is not part of the layer.
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
	if n.parent.child(n.name) == n { // otherwise its node was forgotten
		n.parent.dir.children.drop(n)
		u.kept -= n.cost()
	}
	n.parent, n.name, n.hidden = u.root, name, true
	u.root.add(n)
	u.kept += n.cost()
	return nil
}

// copyUp copies a file of the parents into the layer, so that a hard link to it
// shares its inode (H2).
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
	u.kept += int64(len(c.path) + len(c.by) + copiedCost) // the limit is enforced later, as in setTarget
	return n, u.do.copy(n, p, attrs, nodeAttrs(attrs, xattrs, u.opts.Encoding), in, name)
}

// copy copies a file of the parents into the staging directory.
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

// A copied is a file of the parents that a hard link copied into the layer.
type copied struct {
	path string
	by   string // the name of the entry
	pos  int64
}

// copiedCost is the memory of a copied in bytes, without its paths.
const copiedCost = 64

// checkCopied returns an error for a hard link to a file that the markers of
// the layer remove. All removals happen first, so the file did not exist (H4).
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

// onlyReader hides the other methods of a reader.
type onlyReader struct{ io.Reader }
