package tar

import (
	"iter"
	"slices"
)

// children are the nodes in a directory. Most directories have few, for which a
// list takes a tenth of what a map does.
type children struct {
	list []*node // while there are few
	many map[string]*node
}

// maxFew is how many nodes a list may have.
const maxFew = 16

func (s *children) get(name string) *node {
	if s.many != nil {
		return s.many[name]
	}
	for _, n := range s.list {
		if n.name == name {
			return n
		}
	}
	return nil
}

// put adds a node, whose name must be free.
func (s *children) put(n *node) {
	switch {
	case s.many != nil:
		s.many[n.name] = n
	case len(s.list) < maxFew:
		s.list = append(s.list, n)
	default:
		s.many = make(map[string]*node, 2*maxFew)
		for _, c := range s.list {
			s.many[c.name] = c
		}
		s.many[n.name], s.list = n, nil
	}
}

func (s *children) drop(n *node) {
	if s.many != nil {
		delete(s.many, n.name)
		return
	}
	if i := slices.Index(s.list, n); i >= 0 {
		s.list = slices.Delete(s.list, i, i+1)
	}
}

// all yields the nodes in no particular order. The one that was yielded last may
// be dropped meanwhile.
func (s *children) all() iter.Seq[*node] {
	return func(yield func(*node) bool) {
		for _, n := range s.many {
			if !yield(n) {
				return
			}
		}
		for i := len(s.list) - 1; i >= 0; i-- {
			if !yield(s.list[i]) {
				return
			}
		}
	}
}

// keep replaces the nodes by those for which it holds, and reports whether that is
// fewer. A map from which is deleted does not shrink, so there is a new one.
func (s *children) keep(holds func(*node) bool) (fewer bool) {
	var left children
	for n := range s.all() {
		if holds(n) {
			left.put(n)
		} else {
			fewer = true
		}
	}
	if fewer {
		*s = left
	}
	return fewer
}
