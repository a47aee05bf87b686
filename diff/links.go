package diff

import "context"

// inode identifies a file within one view.
type inode struct{ dev, ino uint64 }

func inodeOf(n *Node) inode { return inode{n.Dev, n.Ino} }

// linked reports whether a node counts in the index of hard links.
func linked(n *Node) bool { return n.Nlink > 1 && !n.IsDir() && !unfit(n) }

// links knows the names of the files with several names, on both sides: of all
// files, or of those of which a candidate is a name.
//
// A group is all names of one file of new. Names of a group that were one file
// in old as well are all the same as before or all changed, as both times they
// are one file; so it suffices to compare one of them.
type links struct {
	old, new map[string]inode
	stays    map[string]struct{} // linked names of old at which new has a file too

	// By settle:

	groups map[inode]*group   // by file of new
	parts  map[inode][]string // by file of old: a name of every group, not joined, that came of it
	split  map[inode]bool     // by file of old, once known: two of its parts are otherwise the same
}

// group is what settle finds out about the names of one file of new.
type group struct {
	first string // the least name
	names int
	was   inode // the file of first in old; zero when that had no other names
	mixed bool  // another name was another file
}

// joined reports whether names came together that were not linked in old.
func (g *group) joined() bool { return g.names > 1 && (g.mixed || g.was == inode{}) }

func newLinks() *links {
	return &links{old: map[string]inode{}, new: map[string]inode{}, stays: map[string]struct{}{}}
}

// note records a name; a side that does not have it, or no file there, is nil.
func (l *links) note(path string, o, n *Node) {
	if n != nil && linked(n) {
		l.new[path] = inodeOf(n)
	}
	if o != nil && linked(o) {
		l.old[path] = inodeOf(o)
		if n != nil && !n.IsDir() && !unfit(n) {
			l.stays[path] = struct{}{}
		}
	}
}

// settle finds the groups, and what came of every file of old.
func (l *links) settle() {
	l.groups = map[inode]*group{}
	for path, id := range l.new {
		was := l.old[path]
		g := l.groups[id]
		if g == nil {
			l.groups[id] = &group{first: path, names: 1, was: was}
			continue
		}
		g.names++
		g.mixed = g.mixed || was != g.was
		g.first = min(g.first, path)
	}
	l.parts, l.split = map[inode][]string{}, map[inode]bool{}
	for path := range l.stays {
		if !l.joined(path) && l.part(path) == path {
			id := l.old[path]
			l.parts[id] = append(l.parts[id], path)
		}
	}
}

// joined reports whether the group of a name is in the diff because it joins
// names that were not linked in old.
func (l *links) joined(path string) bool {
	if l == nil {
		return false
	}
	id, ok := l.new[path]
	return ok && l.groups[id].joined()
}

// part returns the name that stands for the group of a name.
func (l *links) part(path string) string {
	if id, ok := l.new[path]; ok {
		return l.groups[id].first
	}
	return path
}

// sameLinks reports whether a path that is otherwise the same is not in the diff
// for its links.
func (w *walker) sameLinks(path string) (bool, error) {
	if w.links == nil {
		l, err := indexLinks(w.ctx, w.old, w.new)
		if err != nil {
			return false, err
		}
		w.links = l
	}
	l := w.links
	if l.joined(path) {
		return false, nil
	}
	id := l.old[path]
	if split, ok := l.split[id]; ok {
		return !split, nil
	}
	split := false
	for _, other := range l.parts[id] {
		if other == l.part(path) {
			continue
		}
		same, err := w.sameAt(other)
		if err != nil {
			return false, err
		}
		if split = same; split {
			break
		}
	}
	l.split[id] = split
	return !split, nil
}

// sameAt compares the files at a path, all but their links.
func (w *walker) sameAt(path string) (bool, error) {
	if same, ok := w.same[path]; ok {
		return same, nil
	}
	old, o, err := lookupAt(w.old, path)
	if err != nil || o == nil {
		return false, err
	}
	defer old.Close()
	new, n, err := lookupAt(w.new, path)
	if err != nil || n == nil {
		return false, err
	}
	defer new.Close()
	_, name := splitPath(path)
	same := !o.IsDir() && !n.IsDir()
	if same {
		if same, err = w.sameFile(old, new, name, o, n); err != nil {
			return false, err
		}
	}
	w.same[path] = same
	return same, nil
}

// indexLinks walks both trees whole.
func indexLinks(ctx context.Context, old, new View) (*links, error) {
	l := newLinks()
	err := walkFiles(ctx, old, func(path []byte, o *Node) {
		if linked(o) {
			l.old[string(path)] = inodeOf(o)
		}
	})
	if err != nil {
		return nil, err
	}
	err = walkFiles(ctx, new, func(path []byte, n *Node) {
		if linked(n) {
			l.new[string(path)] = inodeOf(n)
		}
		if _, ok := l.old[string(path)]; ok && !n.IsDir() {
			l.stays[string(path)] = struct{}{}
		}
	})
	if err != nil {
		return nil, err
	}
	l.settle()
	return l, nil
}

// walkFiles visits everything below the root that a layer can hold. The path is
// only lent.
func walkFiles(ctx context.Context, v View, visit func(path []byte, n *Node)) error {
	root, err := v.Root()
	if err != nil {
		return err
	}
	defer root.Close()
	return walkFilesIn(ctx, root, nil, visit)
}

func walkFilesIn(ctx context.Context, d Dir, path []byte, visit func([]byte, *Node)) error {
	names, err := d.Names()
	if err != nil {
		return err
	}
	if len(path) > 0 {
		path = append(path, '/')
	}
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := d.Lookup(name)
		if err != nil {
			return err
		}
		if unfit(&n) || reserved(name) {
			continue
		}
		full := append(path, name...)
		visit(full, &n)
		if !n.IsDir() {
			continue
		}
		sub, err := d.OpenDir(name)
		if err != nil {
			return err
		}
		err = walkFilesIn(ctx, sub, full, visit)
		_ = sub.Close()
		if err != nil {
			return err
		}
	}
	return nil
}
