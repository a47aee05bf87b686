package btrfs

import (
	"cmp"
	"context"
	"math"
	"slices"

	"github.com/layerkeep/layerkeep/internal/subvol"
)

// A changeSet has the inodes of a subvolume that changed since a transaction,
// and the directories that they are in. A million inodes take about 25 MB.
//
// The kernel writes the number of the current transaction into an inode when
// the content, attributes, links or name of the file change. For a directory it
// also does so when a name in it changes. So this number tells which inodes may
// have changed. (The number of a leaf does not, because many inodes share a
// leaf.) The set may have too many inodes, because a read that sets the access
// time counts too.
type changeSet struct {
	base uint64
	// inodes are the inodes that changed and have a name. Each entry is the inode
	// number shifted left by newBit; the lowest bit says that the inode was created
	// since base. The entries are sorted.
	inodes []uint64
	// links has the directories of every changed inode, and the directories above
	// them. It is sorted.
	links []link
}

const newBit = 1

// A link says that an inode has a name in a directory.
type link struct{ dir, ino uint64 }

func byDir(a, b link) int {
	if c := cmp.Compare(a.dir, b.dir); c != 0 {
		return c
	}
	return cmp.Compare(a.ino, b.ino)
}

// find returns the entry of an inode that changed.
func (s *changeSet) find(ino uint64) (entry uint64, ok bool) {
	i, ok := slices.BinarySearchFunc(s.inodes, ino, func(e, ino uint64) int { return cmp.Compare(e>>newBit, ino) })
	if !ok {
		return 0, false
	}
	return s.inodes[i], true
}

// has reports whether an inode changed since base.
func (s *changeSet) has(ino uint64) bool {
	_, ok := s.find(ino)
	return ok
}

// isNew reports whether an inode was created since base. The inode number does
// not show that, because a new file may get the number of a deleted one.
func (s *changeSet) isNew(ino uint64) bool {
	e, ok := s.find(ino)
	return ok && e&newBit != 0
}

// in returns the links to inodes in a directory.
func (s *changeSet) in(dir uint64) []link {
	from, _ := slices.BinarySearchFunc(s.links, link{dir, 0}, byDir)
	to, _ := slices.BinarySearchFunc(s.links, link{dir, math.MaxUint64}, byDir)
	return s.links[from:to]
}

// isIn reports whether an inode is among the links that in returned.
func isIn(children []link, ino uint64) bool {
	_, ok := slices.BinarySearchFunc(children, ino, func(l link, ino uint64) int { return cmp.Compare(l.ino, ino) })
	return ok
}

// A changeScan fills a changeSet.
type changeScan struct {
	*changeSet
	tree *tree
	// The inode whose links are being read, the index of its first link, and how
	// many links are still missing.
	ino   uint64
	start int
	left  uint32
}

// changedSince returns the inodes that changed since base. It searches only
// leaves that were written since.
func changedSince(ctx context.Context, t *tree, base uint64) (*changeSet, error) {
	s := &changeScan{changeSet: &changeSet{base: base}, tree: t}
	seen := 0
	err := t.each(inodesSince(base), func(i subvol.Item) error {
		if seen++; seen%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		return s.item(i)
	})
	if err != nil {
		return nil, err
	}
	return s.changeSet, s.finish(ctx)
}

// finish completes and sorts the collected data.
func (s *changeScan) finish(ctx context.Context) error {
	if err := s.complete(); err != nil {
		return err
	}
	if err := s.climb(ctx); err != nil {
		return err
	}
	slices.SortFunc(s.links, byDir)
	s.links = slices.Compact(s.links)
	// Cloning frees the spare capacity, which may be as much memory again.
	s.links, s.inodes = slices.Clone(s.links), slices.Clone(s.inodes)
	return nil
}

// inodesSince returns the query for all inodes in leaves that were written
// since base.
func inodesSince(base uint64) subvol.Query {
	last := uint64(math.MaxUint64) - 256 // BTRFS_LAST_FREE_OBJECTID
	return subvol.Query{
		Min: subvol.Key{ObjectID: subvol.FirstInode}, Max: subvol.Key{ObjectID: last, Type: math.MaxUint8, Offset: math.MaxUint64},
		MinTransid: base + 1,
	}
}

// item records a changed inode, and its links, which follow the inode.
func (s *changeScan) item(i subvol.Item) error {
	switch i.Key.Type {
	case subvol.InodeItem:
		if err := s.complete(); err != nil {
			return err
		}
		n, err := i.Inode()
		if err != nil || n.Transid <= s.base || n.Nlink == 0 {
			return err
		}
		entry := i.Key.ObjectID << newBit
		if n.Generation > s.base {
			entry |= newBit
		}
		s.inodes = append(s.inodes, entry)
		s.ino, s.start, s.left = i.Key.ObjectID, len(s.links), n.Nlink
	case subvol.InodeRef, subvol.InodeExtref:
		if i.Key.ObjectID == s.ino && s.left > 0 {
			return s.refs(i)
		}
	}
	return nil
}

func (s *changeScan) refs(i subvol.Item) error {
	return i.Refs(func(dir uint64, _ []byte) error {
		if s.left > 0 {
			s.left--
		}
		l := link{dir, i.Key.ObjectID}
		if len(s.links) == s.start || s.links[len(s.links)-1] != l {
			s.links = append(s.links, l)
		}
		return nil
	})
}

// complete reads all links of the last inode if some of them are in leaves that
// did not change.
func (s *changeScan) complete() error {
	if s.left == 0 {
		return nil
	}
	s.tree.work.completed++
	s.links = s.links[:s.start]
	err := s.tree.each(refsOf(s.ino), s.refs)
	s.left = 0
	return err
}

func refsOf(ino uint64) subvol.Query {
	q := subvol.OfInode(ino, subvol.InodeRef, subvol.InodeExtref)
	q.Few = true
	return q
}

// climb adds the directories above those that have a changed inode. A directory
// that changed itself already has its links.
func (s *changeScan) climb(ctx context.Context) error {
	held := make([]uint64, len(s.links))
	for i, l := range s.links {
		held[i] = l.dir
	}
	seen := map[uint64]struct{}{}
	for _, d := range sorted(held) {
		for d != s.tree.ino && d > subvol.FirstInode && !s.has(d) {
			if _, ok := seen[d]; ok {
				break
			}
			seen[d] = struct{}{}
			if err := ctx.Err(); err != nil {
				return err
			}
			up, _, err := s.tree.parent(d)
			if err != nil {
				return err
			}
			s.links = append(s.links, link{up, d})
			d = up
		}
	}
	return nil
}

func sorted(list []uint64) []uint64 {
	slices.Sort(list)
	return slices.Compact(list)
}
