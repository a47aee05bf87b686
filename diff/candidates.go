package diff

import (
	"slices"
	"strings"

	"github.com/layerkeep/layerkeep/internal/whiteout"
)

// mode says which names of a directory to look at.
type mode uint8

const (
	// askHints: the names that the directory of the new side gives as hints.
	// Without hints the mode becomes allNames.
	askHints mode = iota
	// allNames: all names of both sides, here and in everything below.
	allNames
	// onlyExtra: there are no hints here; only the extra names of the walker.
	onlyExtra
)

// presence says which sides are known to have a name.
type presence uint8

const (
	unknown presence = iota
	oldOnly
	newOnly
	both
)

// A candidate is a name of a directory that may have changed.
type candidate struct {
	name    string
	where   presence
	descend bool // a directory whose own attributes are known to be unchanged
	forced  bool // an extra name, without a hint
	done    bool
}

// candidates returns the names of a directory that may have changed, sorted,
// and the mode for the directories below.
func (w *walker) candidates(old, new Dir, m mode) ([]candidate, mode, error) {
	if old == nil {
		names, err := new.Names()
		return single(names, newOnly), allNames, err
	}
	extra := w.extra[string(w.at.key())]
	if names, ok := w.scanned[string(w.at.key())]; ok && m == askHints {
		delete(w.scanned, string(w.at.key()))
		return addExtra(names, extra), askHints, nil
	}
	var hints []Hint
	if m == askHints {
		var ok bool
		var err error
		if hints, ok, err = hintsOf(new); err != nil {
			return nil, m, err
		}
		if !ok {
			m = allNames
		}
	}
	if m == allNames {
		names, err := mergeNames(old, new)
		return names, allNames, err
	}
	names := make([]candidate, 0, len(hints)+len(extra))
	for _, h := range hints {
		names = append(names, candidate{name: h.Name, descend: h.Descend})
	}
	return addExtra(names, extra), askHints, nil
}

func hintsOf(d Dir) ([]Hint, bool, error) {
	h, ok := d.(Hinter)
	if !ok {
		return nil, false, nil
	}
	return h.Hints()
}

// addExtra merges the extra names into the hinted names.
func addExtra(names []candidate, extra []Hint) []candidate {
	if len(extra) == 0 {
		return names
	}
	hinted := make(map[string]int, len(names))
	for i, c := range names {
		hinted[c.name] = i
	}
	for _, h := range extra {
		if i, ok := hinted[h.Name]; ok {
			names[i].descend = names[i].descend && h.Descend
			continue
		}
		names = append(names, candidate{name: h.Name, descend: h.Descend, forced: true})
	}
	slices.SortFunc(names, func(a, b candidate) int { return strings.Compare(a.name, b.name) })
	return names
}

func single(names []string, where presence) []candidate {
	list := make([]candidate, len(names))
	for i, name := range names {
		list[i] = candidate{name: name, where: where}
	}
	return list
}

// mergeNames returns the names of both sides.
func mergeNames(old, new Dir) ([]candidate, error) {
	a, err := old.Names()
	if err != nil {
		return nil, err
	}
	b, err := new.Names()
	if err != nil {
		return nil, err
	}
	list := make([]candidate, 0, max(len(a), len(b)))
	for len(a) > 0 && len(b) > 0 {
		switch strings.Compare(a[0], b[0]) {
		case -1:
			list = append(list, candidate{name: a[0], where: oldOnly})
			a = a[1:]
		case 1:
			list = append(list, candidate{name: b[0], where: newOnly})
			b = b[1:]
		default:
			list = append(list, candidate{name: a[0], where: both})
			a, b = a[1:], b[1:]
		}
	}
	list = append(list, single(a, oldOnly)...)
	return append(list, single(b, newOnly)...), nil
}

// reserved reports whether a name has another meaning in a layer (OCI
// image-spec, layer.md, "Whiteouts").
func reserved(name string) bool { return strings.HasPrefix(name, whiteout.Prefix) }

// unfit reports whether a layer cannot contain a file: a socket, or the
// character device that is a whiteout of overlay.
func unfit(n *Node) bool {
	return n.Type() == TypeSocket || n.Type() == TypeChar && n.Rdev == 0
}

func (w *walker) warnUnfit(path string, n *Node) {
	if n.Type() == TypeSocket {
		w.warn(path, "a socket cannot be in a layer; left out")
		return
	}
	w.warn(path, "a character device 0:0 cannot be in a layer; left out")
}
