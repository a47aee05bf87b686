package tar

import (
	stdtar "archive/tar"
	"strings"

	"github.com/layerkeep/layerkeep/internal/whiteout"
)

// A mark is what is known of one path beyond the files in the staging
// directory. Marks form a tree of names.
type mark struct {
	name     string
	children children[*mark]
	// whiteout removes the path from the parents.
	whiteout bool
	// opaque removes all children that the parents have here.
	opaque bool
	// implied is a directory of the delta that no entry described.
	implied bool
	// cut is a directory of the delta that took the place of something else
	// within the layer, so that nothing of the parents is left in it.
	cut bool
	// assumed is a directory that a detached layer took for granted, see
	// Delta.checkAssumed.
	assumed bool
	// below: there is a marker here or below, so that the parents may have to lose
	// something there. Implied and cut say nothing of a directory that the delta
	// does not have.
	below bool
	// count, at the root, is of the marks that the markers made.
	count *markCount
}

func (m *mark) called() string { return m.name }

// A markCount says how many marks there are, and about how many bytes they
// take.
type markCount struct{ marks, bytes int64 }

// markCost is what a mark takes in bytes, with its place in the directory,
// beside its name.
const markCost = 110

// made is what the markers have made below the root of the marks.
func (m *mark) made() markCount {
	if m.count == nil {
		return markCount{}
	}
	return *m.count
}

// at returns the mark of a clean path, making it.
func (m *mark) at(p string) *mark {
	for rest := p; rest != "" && rest != "."; {
		var c string
		c, rest, _ = strings.Cut(rest, "/")
		m = m.make(c)
	}
	return m
}

// marker is at for what a marker says, and counts in the root's made what it
// makes.
func (m *mark) marker(p string) *mark {
	if m.count == nil {
		m.count = &markCount{}
	}
	count := m.count
	m.below = true
	for rest := p; rest != "" && rest != "."; {
		var c string
		c, rest, _ = strings.Cut(rest, "/")
		if m.child(c) == nil {
			count.marks++
			count.bytes += markCost + int64(len(c))
		}
		m = m.make(c)
		m.below = true
	}
	return m
}

func (m *mark) make(name string) *mark {
	next := m.child(name)
	if next == nil {
		next = &mark{name: strings.Clone(name)} // not to keep the whole path
		m.children.put(next)
	}
	return next
}

// child returns the mark of a name, or nil.
func (m *mark) child(name string) *mark {
	if m == nil {
		return nil
	}
	return m.children.get(name)
}

// names returns the names of the children in order.
func (m *mark) names() []string { return m.children.names() }

// removes reports whether the markers remove the path from the parents.
func (m *mark) removes(p string) bool {
	for rest, more := p, true; more && m != nil; {
		if m.opaque {
			return true
		}
		var c string
		c, rest, more = strings.Cut(rest, "/")
		if m = m.child(c); m != nil && m.whiteout {
			return true
		}
	}
	return false
}

// role is what an entry is for.
type role uint8

const (
	roleEntry  role = iota // makes something
	roleMarker             // has been put into the marks
	roleSkip               // bookkeeping, to be ignored
)

// readMarker tells the role of an entry with a clean path, and records markers.
// Their paths are taken as they are: removals happen before any symbolic link
// of the layer exists, and a directory that is a symbolic link in the parents
// is no directory (M1).
func readMarker(marks *mark, p string, hdr *stdtar.Header) (role, error) {
	if strings.Contains(p, whiteout.Prefix) {
		if r, err := readMarkerName(marks, p); r != roleEntry || err != nil {
			return r, err
		}
		if strings.HasPrefix(p, whiteout.AUFSPseudo+"/") {
			return pseudoRole(hdr), nil
		}
	}
	if isWhiteoutDevice(hdr) && p != "." {
		marks.marker(p).whiteout = true
		return roleMarker, nil
	}
	return roleEntry, nil
}

func isWhiteoutDevice(hdr *stdtar.Header) bool {
	return hdr.Typeflag == stdtar.TypeChar && hdr.Devmajor == 0 && hdr.Devminor == 0
}

// pseudoRole tells the role of an entry right below aufs' directory of
// pseudo-links. Hard links can give it a name in the layer, so only what can
// have several names is kept.
func pseudoRole(hdr *stdtar.Header) role {
	if hdr.Typeflag == stdtar.TypeDir || isWhiteoutDevice(hdr) {
		return roleSkip
	}
	return roleEntry
}

func readMarkerName(marks *mark, p string) (role, error) {
	pseudo := false
	dir, rest, more := "", p, true
	for more {
		var c string
		c, rest, more = strings.Cut(rest, "/")
		kind, target, err := whiteout.Parse(c)
		switch {
		case err != nil:
			return roleSkip, invalid("%w", err)
		case dir == "" && c == whiteout.AUFSPseudo:
			pseudo = true // what is right below is kept aside for hard links to it
		case kind == whiteout.Bookkeeping:
			return roleSkip, nil
		case kind != whiteout.None && (more || pseudo):
			// No directory has the name of a marker: such a path is about nothing, as
			// what aufs keeps for itself (W9).
			return roleSkip, nil
		case kind == whiteout.Opaque:
			marks.marker(dir).opaque = true
			return roleMarker, nil
		case kind == whiteout.Whiteout:
			if len(target) > maxName {
				return roleMarker, nil // nothing can have that name
			}
			marks.marker(joinPath(dir, target)).whiteout = true
			return roleMarker, nil
		}
		dir = strings.TrimSuffix(p[:len(p)-len(rest)], "/")
	}
	if pseudo && strings.Count(p, "/") != 1 {
		return roleSkip, nil
	}
	return roleEntry, nil
}
