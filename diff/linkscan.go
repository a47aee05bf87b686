package diff

// scanHinted finds names without a hint that are changed because of their links
// to hinted names. Compare must visit these names too. They may come first in
// the order, so the scan runs before anything is yielded. It does nothing if
// the new side gives no hints, because all names are candidates then.
//
// The scan looks only at the candidates, with two exceptions:
//
//   - It searches new if the file of a candidate has names in new that are not
//     candidates. An example is a directory that was moved, and that contains
//     one of several names of a file.
//   - It searches old if a candidate is unchanged and its file in old has names
//     that are not candidates. The candidate and those names may now be parts
//     of one old file.
//
// A side that is not a [Linker] is then walked completely.
func (w *walker) scanHinted(old, new Dir) error {
	_, ok, err := hintsOf(new)
	if err != nil || !ok {
		return err
	}
	s := &linkScan{walker: w, links: newLinks(), keep: true, added: map[string]struct{}{}}
	w.scanned, w.extra = map[string][]candidate{}, map[string][]Hint{}
	if _, err := s.dir(old, new, askHints); err != nil {
		return err
	}
	if err := s.findNew(); err != nil {
		return err
	}
	s.links.settle()
	if err := s.findOld(); err != nil {
		return err
	}
	s.links.settle()
	w.links = s.links
	return nil
}

// indexLinks builds the index of hard links from both whole trees.
func (w *walker) indexLinks() (*links, error) {
	old, err := w.old.Root()
	if err != nil {
		return nil, err
	}
	defer old.Close()
	new, err := w.new.Root()
	if err != nil {
		return nil, err
	}
	defer new.Close()
	defer func(at dirPath) { w.at = at }(w.at) // the walk may be in the middle of the tree
	w.at = nil
	s := &linkScan{walker: w, links: newLinks()}
	if _, err := s.dir(old, new, allNames); err != nil {
		return nil, err
	}
	s.links.settle()
	return s.links, nil
}

// linkScan collects the hard links among the candidates.
type linkScan struct {
	*walker
	links      *links
	keep       bool                // keep the names of hinted directories for the walk of Compare
	added      map[string]struct{} // paths in extra
	remembered int
}

// dir scans a directory. It reports whether anything in it may have changed.
func (s *linkScan) dir(old, new Dir, m mode) (bool, error) {
	names, below, err := s.candidates(old, new, m)
	if err != nil {
		return false, err
	}
	kept := names[:0]
	for _, c := range names {
		if err := s.ctx.Err(); err != nil {
			return false, err
		}
		may, err := s.name(old, new, c, below)
		if err != nil {
			return false, err
		}
		if may || !c.descend {
			kept = append(kept, c)
		}
	}
	if below == askHints && s.keep {
		s.remember(kept)
	}
	return len(kept) > 0, nil
}

// name scans one name. It reports whether the name, or anything below it, may
// have changed.
func (s *linkScan) name(old, new Dir, c candidate, below mode) (bool, error) {
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
		s.links.note(s.at.of(c.name), o, n)
	}
	if n == nil || !n.IsDir() {
		return true, nil
	}
	return s.subdir(old, new, c.name, o, below)
}

// maxRemembered limits the number of names that a scan keeps.
const maxRemembered = 1 << 16

// remember keeps the names of a directory. The walk of Compare then need not
// ask for hints again, and it skips the directories below which nothing has
// changed.
func (s *linkScan) remember(names []candidate) {
	if s.remembered += len(names) + 1; s.remembered < maxRemembered {
		s.scanned[string(s.at.key())] = names
	}
}

func (s *linkScan) subdir(old, new Dir, name string, o *Node, below mode) (bool, error) {
	defer s.at.enter(name)()
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
	return s.dir(oldSub, sub, below)
}
