package diff

import (
	"context"
	"strings"

	"github.com/layerkeep/layerkeep/internal/whiteout"
)

// findNew finds all names of files of new that have a candidate among their
// names and other names that are not candidates. It adds these other names to
// the names to visit.
func (s *linkScan) findNew() error {
	wanted := map[inode][]string{}
	for id, g := range s.links.groups {
		if g.left > 0 {
			wanted[id] = nil
		}
	}
	if err := s.namesOf(s.new, wanted); err != nil {
		return err
	}
	for id, paths := range wanted {
		if err := s.regroup(id, paths); err != nil {
			return err
		}
	}
	return nil
}

// regroup builds a group again, now that all its names are known.
func (s *linkScan) regroup(id inode, paths []string) error {
	var g group
	var was *Node
	names := uint32(0)
	for _, path := range paths {
		o, n, err := s.both(path)
		if err != nil {
			return err
		}
		if n == nil || inodeOf(n) != id {
			continue
		}
		g = g.with(o, names > 0)
		names++
		s.addPath(path)
		if o == nil || !linked(o) {
			continue
		}
		// It is no longer known which names of this file were already counted.
		f := s.links.files[inodeOf(o)]
		if f.left = always; alike(o, n) {
			f.add(path, id)
		}
		s.links.files[inodeOf(o)], was = f, o
	}
	g.left = 0
	s.links.groups[id] = g
	if was != nil && !g.mixed && names >= count(was) {
		delete(s.links.files, inodeOf(was)) // all its names are in this group
	}
	return nil
}

// findOld finds all names of files of old that may now be several unchanged
// files in new. It adds the names that new still has to the names to visit.
func (s *linkScan) findOld() error {
	wanted := map[inode][]string{}
	for id, f := range s.links.files {
		if f.left == 0 {
			continue
		}
		for p := f.parts; p != nil; p = p.next {
			if err := s.ctx.Err(); err != nil {
				return err
			}
			same, err := s.sameAt(p.path)
			if err != nil {
				return err
			}
			if same {
				wanted[id] = nil
				break
			}
		}
	}
	if err := s.namesOf(s.old, wanted); err != nil {
		return err
	}
	for id, paths := range wanted {
		if err := s.divide(id, paths); err != nil {
			return err
		}
	}
	return nil
}

// divide builds the parts of an old file again, now that all its names are
// known. The groups of these names are complete: either one name of the group
// is a candidate, or the group has only names of this file.
func (s *linkScan) divide(id inode, paths []string) error {
	var f oldFile
	for _, path := range paths {
		o, n, err := s.both(path)
		if err != nil {
			return err
		}
		if n == nil || o == nil || inodeOf(o) != id {
			continue
		}
		s.addPath(path)
		if isFile(n) && alike(o, n) {
			f.add(path, inodeOf(n))
		}
	}
	s.links.files[id] = f
	return nil
}

// both looks up a path on both sides. A result is nil if the path does not
// exist.
func (s *linkScan) both(path string) (o, n *Node, err error) {
	if n, err = nodeAt(s.new, path); err != nil {
		return nil, nil, err
	}
	o, err = nodeAt(s.old, path)
	return o, n, err
}

// addPath adds a path, and the directories above it, to the names to visit.
func (s *linkScan) addPath(path string) {
	descend := false
	for path != "." {
		if _, ok := s.added[path]; ok {
			return
		}
		s.added[path] = struct{}{}
		dir, name := splitPath(path)
		s.extra[dir] = append(s.extra[dir], Hint{Name: name, Descend: descend})
		path, descend = dir, true
	}
}

// namesOf finds all names that a view has for each wanted file. If the view
// cannot list the names of a file, namesOf walks the whole view.
func (s *linkScan) namesOf(v View, wanted map[inode][]string) error {
	walk := len(wanted)
	if l, ok := v.(Linker); ok {
		for id := range wanted {
			if err := s.ctx.Err(); err != nil {
				return err
			}
			paths, ok, err := l.Links(Node{Dev: id.dev, Ino: id.ino})
			if err != nil {
				return err
			}
			if ok {
				wanted[id] = deleteReserved(paths)
				walk--
			}
		}
	}
	if walk == 0 {
		return nil
	}
	sought := make(map[inode][]string, walk)
	for id, paths := range wanted {
		if paths == nil {
			sought[id] = nil
		}
	}
	err := walkFiles(s.ctx, v, func(path []byte, n *Node) {
		if !linked(n) {
			return
		}
		if paths, ok := sought[inodeOf(n)]; ok {
			sought[inodeOf(n)] = append(paths, string(path))
		}
	})
	for id, paths := range sought {
		wanted[id] = paths
	}
	return err
}

// deleteReserved returns the paths that a layer can contain. The result is
// never nil.
func deleteReserved(paths []string) []string {
	kept := make([]string, 0, len(paths))
	for _, path := range paths {
		if !reserved(path) && !strings.Contains(path, "/"+whiteout.Prefix) {
			kept = append(kept, path)
		}
	}
	return kept
}

// walkFiles calls visit for everything below the root that a layer can contain.
// visit must not keep path.
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
