package diff

import (
	"context"
	"errors"
	"io/fs"
	"strings"
)

// inode identifies a file within one view.
type inode struct{ dev, ino uint64 }

func inodeOf(n *Node) inode { return inode{n.Dev, n.Ino} }

// linked reports whether a node counts in the index of hard links.
func linked(n *Node) bool { return n.Nlink > 1 && !n.IsDir() && !unfit(n) }

// links knows the names of the files with several names, on both sides, either
// in the whole trees or among the candidates, when those are all names.
type links struct {
	old, new map[string]inode
	stays    map[string]struct{} // names of old that new has too, as whatever
	changed  map[string]struct{} // names whose set of links changed; see settle
}

func newLinks() *links {
	return &links{old: map[string]inode{}, new: map[string]inode{}, stays: map[string]struct{}{}}
}

// settle finds the names whose set of links changed. The links of a name in new
// must be those it had in old, less the names that are gone. Counting does it:
// of the names that share the name's inode on both sides there must be as many
// as share it in new, and as many as share it in old and are still there.
func (l *links) settle() {
	type pair struct{ old, new inode }
	var none inode // the only name of its file
	var pairs = map[pair]int{}
	var inOld, inNew = map[inode]int{}, map[inode]int{}
	each := func(visit func(name string, p pair)) {
		for name, n := range l.new {
			visit(name, pair{l.old[name], n})
		}
		for name := range l.stays {
			if _, ok := l.new[name]; !ok {
				visit(name, pair{l.old[name], none})
			}
		}
	}
	each(func(_ string, p pair) {
		pairs[p]++
		inOld[p.old]++
		inNew[p.new]++
	})
	l.changed = map[string]struct{}{}
	each(func(name string, p pair) {
		together, before, now := pairs[p], inOld[p.old], inNew[p.new]
		if p.old == none {
			together, before = 1, 1
		}
		if p.new == none {
			together, now = 1, 1
		}
		if together != before || together != now {
			l.changed[name] = struct{}{}
		}
	})
}

// sameLinks reports whether a path that is otherwise the same has the same links.
func (w *walker) sameLinks(path string) (bool, error) {
	if w.links == nil {
		l, err := indexLinks(w.ctx, w.old, w.new)
		if err != nil {
			return false, err
		}
		w.links = l
	}
	_, changed := w.links.changed[path]
	return !changed, nil
}

// indexLinks walks both trees whole.
func indexLinks(ctx context.Context, old, new View) (*links, error) {
	l := newLinks()
	err := walkFiles(ctx, old, func(path []byte, n *Node) {
		if linked(n) {
			l.old[string(path)] = inodeOf(n)
		}
	})
	if err != nil {
		return nil, err
	}
	err = walkFiles(ctx, new, func(path []byte, n *Node) {
		if linked(n) {
			l.new[string(path)] = inodeOf(n)
		}
		if _, ok := l.old[string(path)]; ok {
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

// scanHinted finds out, before anything is yielded, whether links between
// hinted and other names changed: then the others have to be visited too, and
// they may come first in the order. It looks at the candidates only, unless
// their link counts say that they have names elsewhere; and at nothing when
// the new side gives no hints, as all names are candidates then.
func (w *walker) scanHinted(old, new Dir) error {
	_, ok, err := hintsOf(new)
	if err != nil || !ok {
		return err
	}
	s := &linkScan{walker: w, links: newLinks(), left: map[inode]uint64{}, leftOld: map[inode]uint64{}, needed: map[inode]struct{}{}}
	w.scanned = map[string][]candidate{}
	if _, err := s.dir(".", old, new, askHints); err != nil {
		return err
	}
	if s.complete() {
		s.links.settle()
		w.links = s.links
		return nil
	}
	if w.links, err = indexLinks(w.ctx, w.old, w.new); err != nil {
		return err
	}
	w.extra = map[string][]Hint{}
	added := map[string]struct{}{}
	for path := range w.links.changed {
		addPath(w.extra, added, path)
	}
	return nil
}

// addPath adds a path and the directories above it to the names to visit.
func addPath(extra map[string][]Hint, added map[string]struct{}, path string) {
	descend := false
	for path != "." {
		if _, ok := added[path]; ok {
			return
		}
		added[path] = struct{}{}
		dir, name := ".", path
		if i := strings.LastIndexByte(path, '/'); i >= 0 {
			dir, name = path[:i], path[i+1:]
		}
		extra[dir] = append(extra[dir], Hint{Name: name, Descend: descend})
		path, descend = dir, true
	}
}

// linkScan collects the links among the candidates.
type linkScan struct {
	*walker
	links         *links
	left, leftOld map[inode]uint64   // names not seen, by link count
	needed        map[inode]struct{} // files of old of which new has a candidate name
	remembered    int
}

// complete reports whether the candidates are all names of their files.
func (s *linkScan) complete() bool {
	for _, left := range s.left {
		if left > 0 {
			return false
		}
	}
	for id := range s.needed {
		if s.leftOld[id] > 0 {
			return false
		}
	}
	return true
}

// dir scans a directory and reports whether anything in it may have changed.
func (s *linkScan) dir(path string, old, new Dir, m mode) (bool, error) {
	names, below, err := s.candidates(path, old, new, m)
	if err != nil {
		return false, err
	}
	kept := names[:0]
	for _, c := range names {
		if err := s.ctx.Err(); err != nil {
			return false, err
		}
		may, err := s.name(path, old, new, c, below)
		if err != nil {
			return false, err
		}
		if may || !c.descend {
			kept = append(kept, c)
		}
	}
	if below == askHints {
		s.remember(path, kept)
	}
	return len(kept) > 0, nil
}

// name scans one name and reports whether anything below it may have changed.
func (s *linkScan) name(path string, old, new Dir, c candidate, below mode) (bool, error) {
	if reserved(c.name) {
		return true, nil
	}
	o, err := lookup(old, c.name, c.where != newOnly)
	if err != nil {
		return false, err
	}
	n, err := lookup(new, c.name, c.where != oldOnly)
	if err != nil {
		return false, err
	}
	if (o != nil && linked(o)) || (n != nil && linked(n)) {
		s.note(join(path, c.name), o, n)
	}
	if n == nil || !n.IsDir() {
		return true, nil
	}
	return s.subdir(join(path, c.name), old, new, c.name, o, below)
}

// maxRemembered bounds the names kept of a scan.
const maxRemembered = 1 << 18

// remember spares the walk to come a second question for hints, and the
// directories below which there is nothing.
func (s *linkScan) remember(path string, names []candidate) {
	if s.remembered += len(names) + 1; s.remembered < maxRemembered {
		s.scanned[path] = names
	}
}

// note records one name.
func (s *linkScan) note(path string, o, n *Node) {
	if n != nil && unfit(n) {
		n = nil
	}
	if n != nil && linked(n) {
		s.links.new[path] = inodeOf(n)
		count(s.left, n)
	}
	if o != nil && linked(o) {
		s.links.old[path] = inodeOf(o)
		count(s.leftOld, o)
		if n != nil {
			s.links.stays[path] = struct{}{}
			s.needed[inodeOf(o)] = struct{}{}
		}
	}
}

func count(left map[inode]uint64, n *Node) {
	id := inodeOf(n)
	if _, ok := left[id]; !ok {
		left[id] = n.Nlink
	}
	if left[id] > 0 {
		left[id]--
	}
}

func (s *linkScan) subdir(path string, old, new Dir, name string, o *Node, below mode) (bool, error) {
	sub, err := new.OpenDir(name)
	if err != nil {
		return false, err
	}
	defer sub.Close()
	var oldSub Dir
	if o != nil && o.IsDir() {
		if oldSub, err = old.OpenDir(name); err != nil {
			return false, err
		}
		defer oldSub.Close()
	}
	return s.dir(path, oldSub, sub, below)
}

// lookup returns nil for a name that is not there.
func lookup(d Dir, name string, may bool) (*Node, error) {
	if d == nil || !may {
		return nil, nil
	}
	n, err := d.Lookup(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &n, nil
}
