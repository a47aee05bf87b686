package diff

import (
	"cmp"
	"math"
	"slices"
)

// inode identifies a file within one view.
type inode struct{ dev, ino uint64 }

func inodeOf(n *Node) inode { return inode{n.Dev, n.Ino} }

// linked reports whether a node counts in the index of hard links.
func linked(n *Node) bool { return n.Nlink > 1 && isFile(n) }

// isFile reports whether a node, nil for none, is a file that a layer can hold.
func isFile(n *Node) bool { return n != nil && !n.IsDir() && !unfit(n) }

// links knows of the files with several names, on both sides, what the diff of
// one name has to know of the others. It is filled name by name, and forgets a
// file once all of its names were seen and they turned out not to matter. So it
// holds the files of which names are still to come, and those that do matter.
//
// A group is all names of one file of new. Names of a group that were one file
// in old as well are all the same as before or all changed, as both times they
// are one file; so it suffices to compare one of them.
type links struct {
	groups map[inode]group   // by file of new
	files  map[inode]oldFile // by file of old
}

// group is what is known of the names of one file of new.
type group struct {
	was     inode  // the file of its first name in old; zero when that had no other names
	left    uint32 // names not seen, going by the link count
	several bool   // more than one name was seen
	mixed   bool   // one of them was another file than was
	inOld   bool   // one of them is a file in old
}

// joined reports whether names came together that were not linked in old.
func (g group) joined() bool { return g.several && (g.mixed || g.was == inode{}) }

// oldFile is what is known of the names of one file of old.
type oldFile struct {
	left  uint32 // names not seen, going by the link count; always for never all
	split answer // two of its parts, one of which was asked for, are otherwise the same
	parts *part
}

// always is more names than can be seen.
const always = math.MaxUint32

type answer uint8

const (
	notAsked answer = iota
	yes
	no
)

// A part is a name of old, and the group that it belongs to now, of which
// nothing is known to have changed but its links.
type part struct {
	path string
	now  inode
	next *part
}

func newLinks() *links { return &links{groups: map[inode]group{}, files: map[inode]oldFile{}} }

// note records a name; a side that does not have it is nil.
func (l *links) note(path string, o, n *Node) {
	if n != nil && linked(n) {
		l.noteNew(o, n)
	}
	if o != nil && linked(o) {
		l.noteOld(path, o, n)
	}
}

func (l *links) noteNew(o, n *Node) {
	id := inodeOf(n)
	g, known := l.groups[id]
	if !known {
		g.left = count(n)
	}
	g = g.with(o, known)
	if g.left == 0 && !(g.joined() && g.inOld) {
		delete(l.groups, id)
		return
	}
	l.groups[id] = g
}

// with returns the group with one more name.
func (g group) with(o *Node, further bool) group {
	var was inode
	if o != nil && linked(o) {
		was = inodeOf(o)
	}
	if !further {
		g.was = was
	}
	g.several = further
	g.mixed = g.mixed || was != g.was
	g.inOld = g.inOld || isFile(o)
	g.left = less(g.left)
	return g
}

func (l *links) noteOld(path string, o, n *Node) {
	id := inodeOf(o)
	f, known := l.files[id]
	if !known {
		f.left = count(o)
	}
	if f.left = less(f.left); isFile(n) && alike(o, n) {
		f.add(path, inodeOf(n))
	}
	if f.left == 0 && !f.several() {
		delete(l.files, id)
		return
	}
	l.files[id] = f
}

// add records a part. That of the name before, which most often is a neighbour,
// is not recorded again.
func (f *oldFile) add(path string, now inode) {
	if f.parts == nil || f.parts.now != now {
		f.parts = &part{path, now, f.parts}
	}
}

// several reports whether there are two different parts.
func (f *oldFile) several() bool {
	for p := f.parts; p != nil; p = p.next {
		if p.now != f.parts.now {
			return true
		}
	}
	return false
}

// count is the number of names of a file.
func count(n *Node) uint32 { return uint32(min(n.Nlink, always)) }

func less(left uint32) uint32 {
	if left == 0 || left == always {
		return left
	}
	return left - 1
}

// settle leaves of an old file one part for each group that is not in the diff
// already. Call it when all groups are complete.
func (l *links) settle() {
	groups, files := map[inode]group{}, map[inode]oldFile{} // a map from which is deleted does not shrink
	for id, g := range l.groups {
		if g.joined() && g.inOld {
			groups[id] = g
		}
	}
	l.groups = groups
	for id, f := range l.files {
		f.parts = l.distinct(f.parts)
		if f.parts != nil && (f.left > 0 || f.parts.next != nil) {
			files[id] = f
		}
	}
	l.files = files
}

func (l *links) distinct(parts *part) *part {
	var list []*part
	for p := parts; p != nil; p = p.next {
		if !l.groups[p.now].joined() {
			list = append(list, p)
		}
	}
	slices.SortFunc(list, func(a, b *part) int {
		return cmp.Or(cmp.Compare(a.now.dev, b.now.dev), cmp.Compare(a.now.ino, b.now.ino), cmp.Compare(a.path, b.path))
	})
	list = slices.CompactFunc(list, func(a, b *part) bool { return a.now == b.now })
	var head *part
	for _, p := range slices.Backward(list) {
		p.next, head = head, p
	}
	return head
}

// joined reports whether the group of a file of new is in the diff because it
// joins names that were not linked in old.
func (l *links) joined(n *Node) bool {
	return l != nil && linked(n) && l.groups[inodeOf(n)].joined()
}

// sameLinks reports whether a path that is otherwise the same is not in the
// diff for its links.
func (w *walker) sameLinks(o, n *Node) (bool, error) {
	if w.links == nil {
		l, err := w.indexLinks()
		if err != nil {
			return false, err
		}
		w.links = l
	}
	l := w.links
	if l.joined(n) {
		return false, nil
	}
	if !linked(o) {
		return true, nil
	}
	f, ok := l.files[inodeOf(o)]
	if !ok {
		return true, nil
	}
	if f.split == notAsked {
		f.split = no
		for p := f.parts; p != nil && f.split == no; p = p.next {
			if p.now == inodeOf(n) {
				continue
			}
			same, err := w.sameAt(p.path)
			if err != nil {
				return false, err
			}
			if same {
				f.split = yes
			}
		}
		l.files[inodeOf(o)] = f
	}
	return f.split == no, nil
}
