package tar

import (
	"errors"
	"io/fs"
	"strings"

	"github.com/layerkeep/layerkeep/diff"
)

// A parentTree looks paths up in a view. It keeps the directories of the last
// path open, since the next one is most often near.
type parentTree struct {
	view  diff.View
	names []string
	dirs  []diff.Dir // dirs[0] is the root, dirs[i+1] is names[i] in dirs[i]
}

// maxChain is how many directories are kept open; each may hold a descriptor
// for every layer of a stack.
const maxChain = 16

// dir opens a directory by its clean path, "" or "." for the root. It returns
// nil when there is no such directory or something on the way is none: symbolic
// links are not followed. The caller does not close it and may use it until the
// next call.
func (t *parentTree) dir(p string) (diff.Dir, error) {
	if t == nil || t.view == nil {
		return nil, nil
	}
	if len(t.dirs) == 0 {
		root, err := t.view.Root()
		if err != nil {
			return nil, err
		}
		t.dirs = append(t.dirs, root)
	}
	var names []string
	if p != "" && p != "." {
		names = strings.Split(p, "/")
	}
	same := 0
	for same < len(names) && same < len(t.names) && names[same] == t.names[same] {
		same++
	}
	t.cut(same)
	for _, name := range names[same:] {
		if len(t.dirs) > maxChain {
			return t.deep(names)
		}
		next, err := openChild(t.dirs[len(t.dirs)-1], name)
		if next == nil || err != nil {
			return nil, err
		}
		t.dirs, t.names = append(t.dirs, next), append(t.names, name)
	}
	return t.dirs[len(t.dirs)-1], nil
}

// deep goes on below a full chain, with one directory open at a time; the last
// one stays until the next call.
func (t *parentTree) deep(names []string) (diff.Dir, error) {
	at := len(t.names)
	cur, err := openChild(t.dirs[len(t.dirs)-1], names[at])
	for at++; cur != nil && err == nil && at < len(names); at++ {
		var next diff.Dir
		next, err = openChild(cur, names[at])
		cur.Close()
		cur = next
	}
	if cur == nil || err != nil {
		return nil, err
	}
	// Named so that no path begins with it: the next call closes it.
	t.dirs, t.names = append(t.dirs, cur), append(t.names, "/")
	return cur, nil
}

func (t *parentTree) cut(keep int) {
	for len(t.names) > keep {
		t.dirs[len(t.dirs)-1].Close()
		t.dirs, t.names = t.dirs[:len(t.dirs)-1], t.names[:len(t.names)-1]
	}
}

func (t *parentTree) close() {
	if t == nil || len(t.dirs) == 0 {
		return
	}
	t.cut(0)
	t.dirs[0].Close()
	t.dirs = nil
}

// lookup returns the attributes of what is at a clean path, not following
// symbolic links anywhere, the directory that holds it and its name there. ok is
// false when there is nothing.
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

// lookupIn is lookupChild in a directory that may be nil for none.
func lookupIn(d diff.Dir, name string) (diff.Node, bool, error) {
	if d == nil {
		return diff.Node{}, false, nil
	}
	return lookupChild(d, name)
}

// openChild opens a child that is a directory; otherwise it returns nil.
func openChild(d diff.Dir, name string) (diff.Dir, error) {
	n, ok, err := lookupChild(d, name)
	if !ok || err != nil || !n.IsDir() {
		return nil, err
	}
	return d.OpenDir(name)
}
