package tar

import (
	"iter"
	"slices"
)

// named is the type of a child with a name, as a pointer: a node or a mark.
type named interface {
	comparable
	called() string
}

// children is the set of children of a directory. Most directories have few
// children, and for few a list takes a tenth of the memory of a map.
type children[T named] struct {
	list []T // used while there are few
	many map[string]T
}

// maxFew is the largest number of children in a list.
const maxFew = 16

// get returns the child with this name, or nil.
func (s *children[T]) get(name string) (none T) {
	if s.many != nil {
		return s.many[name]
	}
	for _, c := range s.list {
		if c.called() == name {
			return c
		}
	}
	return none
}

// put adds a child. No other child may have its name.
func (s *children[T]) put(c T) {
	switch {
	case s.many != nil:
		s.many[c.called()] = c
	case len(s.list) < maxFew:
		s.list = append(s.list, c)
	default:
		s.many = make(map[string]T, 2*maxFew)
		for _, few := range s.list {
			s.many[few.called()] = few
		}
		s.many[c.called()], s.list = c, nil
	}
}

func (s *children[T]) drop(c T) {
	if s.many != nil {
		delete(s.many, c.called())
		return
	}
	if i := slices.Index(s.list, c); i >= 0 {
		s.list = slices.Delete(s.list, i, i+1)
	}
}

func (s *children[T]) count() int { return len(s.list) + len(s.many) }

// all yields the children in no particular order. The loop may drop the child
// that it received last.
func (s *children[T]) all() iter.Seq[T] {
	return func(yield func(T) bool) {
		for _, c := range s.many {
			if !yield(c) {
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

// names returns the names in sorted order.
func (s *children[T]) names() []string {
	names := make([]string, 0, s.count())
	for c := range s.all() {
		names = append(names, c.called())
	}
	slices.Sort(names)
	return names
}

// keep keeps only the children for which holds returns true, and reports
// whether it dropped any. It builds a new set, because a map does not shrink
// when entries are deleted.
func (s *children[T]) keep(holds func(T) bool) (fewer bool) {
	var left children[T]
	for c := range s.all() {
		if holds(c) {
			left.put(c)
		} else {
			fewer = true
		}
	}
	if fewer {
		*s = left
	}
	return fewer
}
