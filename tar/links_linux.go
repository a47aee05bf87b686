package tar

import (
	stdtar "archive/tar"
	"io"
	"io/fs"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/internal/sys"
)

// hardLink gives an existing file another name. The entry's other attributes are
// those of the file or wrong, and are ignored (M3).
func (u *unpacker) hardLink(p string, hdr *stdtar.Header) error {
	target, err := cleanPath(hdr.Linkname, u.limits.PathDepth)
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
	case !f.exists:
		return invalid("hard link to %q, which does not exist", hdr.Linkname)
	case f.node == nil && f.attrs.IsDir(), f.node != nil && f.node.kind == kindDir:
		return invalid("hard link to %q, which is a directory", hdr.Linkname)
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
	return u.link(from, parent, base, hdr.Linkname)
}

func (u *unpacker) link(from, parent *node, base, linkname string) error {
	old := parent.child(base)
	if old == from {
		return nil // a link to itself
	}
	if old != nil && from.within(old) {
		return invalid("hard link to %q, which it replaces", linkname)
	}
	if err := u.writers.wait(from); err != nil {
		return err
	}
	n, err := u.place(parent, base, from.kind)
	if err != nil {
		return err
	}
	n.target = from.target
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

// copyUp makes a file of the parents part of the layer, so that a hard link to
// it shares its inode (H2).
func (u *unpacker) copyUp(p string) (*node, error) {
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
	h, err := u.dirs.get(parent)
	if err != nil {
		return nil, err
	}
	defer h.release()
	j := &job{node: n, dir: h, name: base, path: p, attrs: nodeAttrs(attrs, xattrs, u.opts.Encoding)}
	u.copied = append(u.copied, p)
	switch {
	case attrs.IsRegular():
		return n, u.copyFile(j, in, name)
	case attrs.IsSymlink():
		if n.target, err = in.Readlink(name); err != nil {
			return nil, err
		}
		n.kind = kindSymlink
		return n, u.maker.symlink(j, n.target)
	default:
		return n, u.maker.special(j, attrs.Type(), attrs.Rdev)
	}
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
	if u.buf == nil {
		u.buf = make([]byte, 1<<20)
	}
	_, err = copyBody(u.ctx.Err, fd, onlyReader{src}, u.buf, true)
	return u.maker.complete(fd, j, j.attrs.mode&^u.maker.masked&0o777, err)
}

// onlyReader hides what else a reader can do.
type onlyReader struct{ io.Reader }
