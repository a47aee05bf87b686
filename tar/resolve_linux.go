package tar

import (
	"fmt"
	"strings"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/internal/whiteout"
)

// resolveDir returns the directory that a clean path leads to at this moment,
// following symbolic links inside the root as a process chrooted there would
// (M4, R3). Directories that nothing has described are made.
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
		// Only remove can change where a path without symbolic links leads.
		u.lastDir, u.lastNode = p, cur
	}
	return cur, nil
}

// nearest returns the directory from which to go on to a path, and the rest of
// the path: where the last one led, or a directory above that. So a deep tree,
// whose entries have long paths, is not walked from the root for each.
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

// follow allows a path to go through one more symbolic link. Chains of links
// with long targets make a path of a few bytes cost as much as a megabyte, so
// what all entries together may follow is bounded.
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

// step goes to a child directory, making it when nothing is there. When a
// symbolic link is there it returns no node but the link's target.
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

// conflict is the error for a path that does not fit with what is there. A
// detached layer that has taken directories for granted may have got there by a
// wrong path, so only its parents can tell.
func (u *reading) conflict(format string, args ...any) error {
	if u.assumed {
		return fmt.Errorf("%w: %w", ErrNeedsParents, fmt.Errorf(format, args...))
	}
	return invalid(format, args...)
}

// parentLink looks at what the parents have at a name in a directory, which is
// about to become a directory: the target of a symbolic link, empty for a
// directory or nothing, an error for another file.
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
	// What counts is whether this layer removes it, wherever it says so.
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

// A found is what the target of a hard link turned out to be: a node of the
// layer, or a file that only the parents have.
type found struct {
	node   *node
	path   string // in the parents
	attrs  diff.Node
	in     diff.Dir
	exists bool
}

// A cursor is a position in the merged tree: a path without symbolic links, and
// the node of the layer there if it has one.
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
		if c.node = c.node.child(name); c.node == nil { // a directory, if anything
			return
		}
	}
}

// find looks the target of a hard link up, not following a symbolic link in the
// last component (H3), and without making anything.
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
			return found{}, nil // what aufs keeps for itself is not part of the tree
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

// look looks one name up at a position.
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

// through tells how a path goes on through what was found: into a directory, or
// on to the target of a symbolic link; neither when it ends there.
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
