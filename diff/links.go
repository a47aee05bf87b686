package diff

import (
	"cmp"
	"math"
	"slices"
)

// inode identifies a file within one view.
type inode struct{ dev, ino uint64 }

func inodeOf(n *Node) inode { return inode{n.Dev, n.Ino} }

// linked reports whether a node belongs in the index of hard links.
func linked(n *Node) bool { return n.Nlink > 1 && isFile(n) }

// isFile reports whether a node is a file that a layer can contain and not a
// directory. n may be nil.
func isFile(n *Node) bool { return n != nil && !n.IsDir() && !unfit(n) }

// links is the index of files that have several names on either side. It stores
// what the comparison of one name must know of the other names. It is filled
// name by name. It forgets a file once all its names were seen and the links do
// not matter. So it holds only files whose names were not all seen yet, and
// files whose links matter.
//
// A group is all names of one file of new. Some names of a group may also have
// been one file in old. These are all unchanged or all changed, because they
// are one file on both sides. So it is enough to compare one of them.
type links struct {
	groups map[inode]group   // by file of new
	files  map[inode]oldFile // by file of old
}

// group describes the names of one file of new.
type group struct {
	was     inode  // the file in old of its first name; zero if that file had no other names
	left    uint32 // number of names not seen yet, according to the link count
	several bool   // more than one name was seen
	mixed   bool   // at least one name was a file other than was
	inOld   bool   // at least one name is a file in old
}

// joined reports whether the group has names that were not linked to each other
// in old.
func (g group) joined() bool { return g.several && (g.mixed || g.was == inode{}) }

// oldFile describes the names of one file of old.
type oldFile struct {
	// Number of names not seen yet, according to the link count; or the constant
	// always.
	left  uint32
	split answer // whether another part is unchanged too, apart from its links
	parts *part
}

// always is a count that never reaches zero.
const always = math.MaxUint32

type answer uint8

const (
	notAsked answer = iota
	yes
	no
)

// A part is one name of a file of old, and the group that the name now belongs
// to. Its attributes are unchanged.
type part struct {
	path string
	now  inode
	next *part
}

func newLinks() *links { return &links{groups: map[inode]group{}, files: map[inode]oldFile{}} }

// note records a name. A side that does not have the name is nil.
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

// add records a part. It does not record a part twice in a row for the same
// group; the names of a group are often neighbours.
func (f *oldFile) add(path string, now inode) {
	if f.parts == nil || f.parts.now != now {
		f.parts = &part{path, now, f.parts}
	}
}

// several reports whether there are parts of different groups.
func (f *oldFile) several() bool {
	for p := f.parts; p != nil; p = p.next {
		if p.now != f.parts.now {
			return true
		}
	}
	return false
}

// count returns the number of names of a file.
func count(n *Node) uint32 { return uint32(min(n.Nlink, always)) }

func less(left uint32) uint32 {
	if left == 0 || left == always {
		return left
	}
	return left - 1
}

// settle reduces the parts of each old file to one for each group, without the
// groups that are in the diff anyway. It must run after all groups are
// complete.
func (l *links) settle() {
	groups, files := map[inode]group{}, map[inode]oldFile{} // new maps, because a map does not shrink when entries are deleted
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

// joined reports whether a file of new is in the diff because its group has
// names that were not linked to each other in old.
func (l *links) joined(n *Node) bool {
	return l != nil && linked(n) && l.groups[inodeOf(n)].joined()
}

// sameLinks reports whether a path that is otherwise unchanged also has
// unchanged links.
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
