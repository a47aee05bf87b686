package diff

// scanHinted finds out, before anything is yielded, which names without a hint
// are changed because of their links with hinted ones: they have to be visited
// too, and they may come first in the order. It does nothing when the new side
// gives no hints, as all names are candidates then.
//
// It looks at the candidates only, with two exceptions. New is walked when a
// candidate's file has names in new that are no candidates, as a directory that
// was moved with one of several names in it. Old is walked when a candidate is
// unchanged, and its file in old has names that are no candidates: then these
// and the candidate may be parts of one file.
func (w *walker) scanHinted(old, new Dir) error {
	_, ok, err := hintsOf(new)
	if err != nil || !ok {
		return err
	}
	s := &linkScan{walker: w, links: newLinks(), left: map[inode]uint64{}, leftOld: map[inode]uint64{}, added: map[string]struct{}{}}
	w.scanned, w.extra = map[string][]candidate{}, map[string][]Hint{}
	if _, err := s.dir(".", old, new, askHints); err != nil {
		return err
	}
	if err := s.findNew(); err != nil {
		return err
	}
	s.links.settle()
	if err := s.findOld(); err != nil {
		return err
	}
	w.links = s.links
	return nil
}

// linkScan collects the links among the candidates.
type linkScan struct {
	*walker
	links         *links
	left, leftOld map[inode]uint64    // names not seen, by link count
	added         map[string]struct{} // paths in extra
	remembered    int
}

// findNew adds the other names of the candidates' files in new.
func (s *linkScan) findNew() error {
	wanted := map[inode]struct{}{}
	for id, left := range s.left {
		if left > 0 {
			wanted[id] = struct{}{}
		}
	}
	paths, err := s.namesOf(s.new, wanted, s.links.new)
	if err != nil {
		return err
	}
	return s.addAll(paths)
}

// findOld adds the other names of those files in old that may be several
// unchanged files in new.
func (s *linkScan) findOld() error {
	wanted := map[inode]struct{}{}
	for id, parts := range s.links.parts {
		if s.leftOld[id] == 0 {
			continue
		}
		for _, path := range parts {
			if err := s.ctx.Err(); err != nil {
				return err
			}
			same, err := s.sameAt(path)
			if err != nil {
				return err
			}
			if same {
				wanted[id] = struct{}{}
				break
			}
		}
	}
	paths, err := s.namesOf(s.old, wanted, s.links.old)
	if err != nil || len(paths) == 0 {
		return err
	}
	if err := s.addAll(paths); err != nil {
		return err
	}
	s.links.settle()
	return nil
}

// namesOf walks a view for the names of files, but those already known.
func (s *linkScan) namesOf(v View, wanted map[inode]struct{}, known map[string]inode) ([]string, error) {
	if len(wanted) == 0 {
		return nil, nil
	}
	var paths []string
	err := walkFiles(s.ctx, v, func(path []byte, n *Node) {
		if !linked(n) {
			return
		}
		if _, ok := wanted[inodeOf(n)]; !ok {
			return
		}
		if _, ok := known[string(path)]; !ok {
			paths = append(paths, string(path))
		}
	})
	return paths, err
}

// addAll adds names that are no candidates.
func (s *linkScan) addAll(paths []string) error {
	for _, path := range paths {
		n, err := nodeAt(s.new, path)
		if err != nil {
			return err
		}
		o, err := nodeAt(s.old, path)
		if err != nil {
			return err
		}
		s.note(path, o, n)
		if n != nil {
			s.addPath(path)
		}
	}
	return nil
}

// addPath adds a path and the directories above it to the names to visit.
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
	s.links.note(path, o, n)
	if n != nil && linked(n) {
		count(s.left, n)
	}
	if o != nil && linked(o) {
		count(s.leftOld, o)
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
