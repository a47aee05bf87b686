package tar

import (
	"fmt"
	"strings"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/internal/whiteout"
)

// resolveDir returns the directory that a clean path leads to at this point of
// the layer. It follows symbolic links inside the root, as a process chrooted
// there would (M4, R3). It makes the directories on the path that no entry has
// described.
func (u *reading) resolveDir(p string) (*node, error) {
	cur, rest := u.nearest(p)
	links := 0
	for rest != "" {
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		switch name {
		case "", ".":
			continue
		case "..":
			if cur.parent != nil {
				cur = cur.parent
			}
			continue
		}
		if links > 0 && cur.parent == nil && name == whiteout.AUFSPseudo {
			return nil, u.conflict("a path that a symbolic link leads below the marker %q", name)
		}
		next, target, err := u.step(cur, name)
		if err != nil {
			return nil, err
		}
		if next != nil {
			cur = next
			continue
		}
		links++
		if err := u.follow(links, target); err != nil {
			return nil, err
		}
		if strings.HasPrefix(target, "/") {
			cur = u.root
		}
		rest = target + "/" + rest
	}
	if links == 0 {
		// Only a removal can change where a path without symbolic links leads, so the
		// result can be remembered.
		u.lastDir, u.lastNode = p, cur
	}
	return cur, nil
}

// nearest returns a directory on the way to a path, and the rest of the path
// from there. It starts from the directory of the last path: that directory
// itself, or the deepest one above it that both paths share. Without it, each
// entry of a deep tree would be resolved from the root, over a long path.
func (u *reading) nearest(p string) (*node, string) {
	if u.lastNode == nil {
		return u.root, p
	}
	same := samePath(u.lastDir, p)
	if same == 0 {
		return u.root, p
	}
	n := u.lastNode
	for range strings.Count(u.lastDir[same:], "/") {
		n = n.parent
	}
	return n, strings.TrimPrefix(p[same:], "/")
}

// follow counts one more symbolic link in a path, and returns an error if there
// are too many. It also limits the total length of the targets that all entries
// follow: with chains of links that have long targets, a path of a few bytes
// costs as much as one of a megabyte.
func (u *reading) follow(links int, target string) error {
	if links > maxLinks {
		return u.conflict("more than %d symbolic links in the path", maxLinks)
	}
	u.followed += int64(len(target))
	if u.followed > followedSlack+u.entries*followedEach {
		return u.conflict("the layer's paths go through too many symbolic links with long targets")
	}
	return nil
}

// step goes from a directory to its child directory, and makes the child if
// nothing has that name. If the name is a symbolic link, step returns no node
// but the target of the link.
func (u *reading) step(cur *node, name string) (next *node, target string, err error) {
	c, err := u.child(cur, name)
	if err != nil {
		return nil, "", err
	}
	if c != nil {
		switch c.kind {
		case kindDir:
			return c, "", nil
		case kindSymlink:
			return nil, c.target, nil
		default:
			return nil, "", u.conflict("a path below %q, which is no directory", c.path())
		}
	}
	if err := u.checkLength(name); err != nil {
		return nil, "", err
	}
	blind := cur.blind
	if !blind && u.parents.view != nil && !cur.dir.absent {
		target, err = u.parentLink(cur, name)
		if target != "" || err != nil {
			return nil, target, err
		}
	}
	u.implied++
	if err := u.countEntries(); err != nil {
		return nil, "", err
	}
	next, err = u.place(cur, name, kindDir)
	if err != nil {
		return nil, "", err
	}
	if u.opts.Detached && !blind {
		u.markOf(next).assumed = true
		u.assumed = true
	}
	u.kept -= next.cost()
	next.implied = true
	return next, "", u.keep(next.cost())
}

// conflict returns the error for a path that does not fit the files that exist.
// A detached layer may have assumed directories, and the path may be wrong
// because of that. Only the parents can tell, so the error is then
// ErrNeedsParents.
func (u *reading) conflict(format string, args ...any) error {
	if u.assumed {
		return fmt.Errorf("%w: %w", ErrNeedsParents, fmt.Errorf(format, args...))
	}
	return invalid(format, args...)
}

// parentLink looks up a name in the parents, in a place where the layer needs a
// directory. It returns the target if the parents have a symbolic link there,
// an empty string if they have a directory or nothing, and an error if they
// have another file.
func (u *reading) parentLink(cur *node, name string) (target string, err error) {
	in, err := u.parents.dirOf(cur)
	if err != nil {
		return "", err
	}
	if in == nil {
		cur.dir.absent = !u.do.lostParents()
		return "", nil
	}
	n, ok, err := lookupChild(in, name)
	if err != nil || !ok || n.IsDir() {
		return "", err
	}
	// The layer may remove this file, in an entry at any position of the stream.
	if err := u.learnMarkers(); err != nil {
		return "", err
	}
	p := joinPath(cur.path(), name)
	if u.marks.removes(p) {
		return "", nil
	}
	if !n.IsSymlink() {
		return "", invalid("a path below %s, which is no directory in the parents", shownName(p))
	}
	return in.Readlink(name)
}

// A found is the result of looking up the target of a hard link: a node of the
// layer, or a file that only the parents have.
type found struct {
	node   *node
	path   string // in the parents
	attrs  diff.Node
	in     diff.Dir
	exists bool
}

// A cursor is a position in the merged tree: a path without symbolic links, and
// the node that the layer has there, or nil.
type cursor struct {
	names []string
	node  *node
}

func (c *cursor) path() string { return strings.Join(c.names, "/") }

func (c *cursor) up(root *node) {
	if len(c.names) == 0 {
		return
	}
	c.names = c.names[:len(c.names)-1]
	c.node = root
	for _, name := range c.names {
		if c.node = c.node.child(name); c.node == nil { // only a directory can be on the path
			return
		}
	}
}

// find looks up the target of a hard link. It does not follow a symbolic link
// in the last component (H3), and makes no directories.
func (u *reading) find(p string) (found, error) {
	cur, rest, links := &cursor{node: u.root}, p, 0
	for {
		var name string
		var more bool
		name, rest, more = strings.Cut(rest, "/")
		if name == ".." {
			cur.up(u.root)
		}
		if name == "" || name == "." || name == ".." {
			if !more {
				return found{node: cur.node, exists: true}, nil // the root
			}
			continue
		}
		if links > 0 && len(cur.names) == 0 && name == whiteout.AUFSPseudo {
			return found{}, nil // the private directory of aufs is not part of the tree
		}
		f, err := u.look(cur, name)
		if err != nil || !f.exists || !more {
			return f, err
		}
		target, isDir, err := u.through(&f, name)
		if err != nil || (target == "" && !isDir) {
			return found{}, err
		}
		if isDir {
			cur.names, cur.node = append(cur.names, name), f.node
			continue
		}
		links++
		if err := u.follow(links, target); err != nil {
			return found{}, err
		}
		if strings.HasPrefix(target, "/") {
			cur = &cursor{node: u.root}
		}
		rest = target + "/" + rest
	}
}

func (u *reading) look(cur *cursor, name string) (found, error) {
	if cur.node != nil {
		c, err := u.child(cur.node, name)
		if err != nil {
			return found{}, err
		}
		if c != nil {
			return found{node: c, exists: true}, nil
		}
		if cur.node.blind {
			return found{}, nil
		}
	}
	if len(name) > maxName {
		return found{}, nil
	}
	p := joinPath(cur.path(), name)
	n, in, _, ok, err := u.parents.lookup(p)
	if err != nil || !ok || u.marks.removes(p) {
		return found{}, err
	}
	return found{path: p, attrs: n, in: in, exists: true}, nil
}

// through tells how a path continues behind a file that was found: isDir for a
// directory, target for a symbolic link. Both are zero if the path cannot
// continue.
func (u *reading) through(f *found, name string) (target string, isDir bool, err error) {
	switch {
	case f.node != nil && f.node.kind != kindSymlink:
		return "", f.node.kind == kindDir, nil
	case f.node != nil:
		return f.node.target, false, nil
	case f.attrs.IsDir():
		return "", true, nil
	case !f.attrs.IsSymlink():
		return "", false, nil
	}
	if err := u.learnMarkers(); err != nil {
		return "", false, err
	}
	if u.marks.removes(f.path) {
		return "", false, nil
	}
	target, err = f.in.Readlink(name)
	return target, false, err
}
