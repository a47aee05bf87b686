package tar

import (
	"bytes"
	"errors"
	"io/fs"
	"strings"

	"github.com/layerkeep/layerkeep/diff"
)

// A parentTree looks up paths in a view. It keeps the directories of the last
// path open, because the next path is usually near. This takes a fixed number
// of descriptors, since every View limits the descriptors of its directories.
type parentTree struct {
	view diff.View
	path []byte     // of the last directory
	node *node      // the node of the layer at the same path; nil if not known
	dirs []diff.Dir // dirs[0] is the root, then one for each name in path
}

// dir opens a directory by its clean path; the root is "" or ".". It returns
// nil if there is no such directory, or if a component of the path is not a
// directory. It does not follow symbolic links. The caller must not close the
// result, and may use it until the next call.
func (t *parentTree) dir(p string) (diff.Dir, error) {
	if t == nil || t.view == nil {
		return nil, nil
	}
	if p == "." {
		p = ""
	}
	if len(t.dirs) == 0 {
		root, err := t.view.Root()
		if err != nil {
			return nil, err
		}
		t.dirs = append(t.dirs, root)
	}
	t.node = nil
	if string(t.path) != p {
		t.cut(samePath(string(t.path), p))
	}
	for rest := strings.TrimPrefix(p[len(t.path):], "/"); rest != ""; {
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		if next, err := t.enter(name); next == nil || err != nil {
			return nil, err
		}
	}
	return t.dirs[len(t.dirs)-1], nil
}

// enter opens a directory inside the last one.
func (t *parentTree) enter(name string) (diff.Dir, error) {
	next, err := openChild(t.dirs[len(t.dirs)-1], name)
	if next == nil || err != nil {
		return nil, err
	}
	t.dirs = append(t.dirs, next)
	if len(t.path) > 0 {
		t.path = append(t.path, '/')
	}
	t.path = append(t.path, name...)
	return next, nil
}

// dirOf does the same as dir for the path of a directory of the layer. When a
// caller goes down a deep tree step by step, it opens only the last component
// each time.
func (t *parentTree) dirOf(n *node) (d diff.Dir, err error) {
	switch {
	case t.node == n:
		return t.dirs[len(t.dirs)-1], nil
	case t.node != nil && t.node == n.parent:
		d, err = t.enter(n.name)
	default:
		d, err = t.dir(n.path())
	}
	if d != nil && err == nil {
		t.node = n
	}
	return d, err
}

// cut closes the directories below the first keep bytes of the path.
func (t *parentTree) cut(keep int) {
	gone := bytes.TrimPrefix(t.path[keep:], []byte{'/'})
	if len(gone) == 0 {
		return
	}
	for range bytes.Count(gone, []byte{'/'}) + 1 {
		t.dirs[len(t.dirs)-1].Close()
		t.dirs = t.dirs[:len(t.dirs)-1]
	}
	t.path = t.path[:keep]
}

func (t *parentTree) close() {
	if t == nil || len(t.dirs) == 0 {
		return
	}
	t.cut(0)
	t.dirs[0].Close()
	t.dirs, t.node = nil, nil
}

// lookup returns the attributes of the file at a clean path, its directory, and
// its name there. It does not follow symbolic links. ok is false if there is no
// such file.
func (t *parentTree) lookup(p string) (n diff.Node, in diff.Dir, name string, ok bool, err error) {
	dir, name := splitPath(p)
	in, err = t.dir(dir)
	if in == nil || err != nil {
		return diff.Node{}, nil, "", false, err
	}
	n, ok, err = lookupChild(in, name)
	return n, in, name, ok, err
}

func lookupChild(d diff.Dir, name string) (diff.Node, bool, error) {
	n, err := d.Lookup(name)
	if errors.Is(err, fs.ErrNotExist) {
		return diff.Node{}, false, nil
	}
	return n, err == nil, err
}

// lookupIn does the same as lookupChild. d may be nil if there is no directory.
func lookupIn(d diff.Dir, name string) (diff.Node, bool, error) {
	if d == nil {
		return diff.Node{}, false, nil
	}
	return lookupChild(d, name)
}

// openChild opens a child that is a directory. It returns nil if the child is
// not a directory or does not exist.
func openChild(d diff.Dir, name string) (diff.Dir, error) {
	n, ok, err := lookupChild(d, name)
	if !ok || err != nil || !n.IsDir() {
		return nil, err
	}
	return d.OpenDir(name)
}
