package tar

import (
	stdtar "archive/tar"
	"strings"

	"github.com/layerkeep/layerkeep/internal/whiteout"
)

// A mark says what Merge must know of one path beyond the files in the staging
// directory. Marks form a tree of names.
type mark struct {
	name     string
	children children[*mark]
	// whiteout: the path is removed from the parents.
	whiteout bool
	// opaque: all children that the parents have here are removed.
	opaque bool
	// implied: the path is a directory of the delta that no entry described.
	implied bool
	// cut: the path is a directory of the delta that replaced another file within
	// the layer. So it shows no files of the parents.
	cut bool
	// assumed: the path is a directory that a detached layer assumed to exist, see
	// merger.checkAssumed.
	assumed bool
	// below: there is a whiteout or opaque mark here or below, so Merge may have to
	// remove something of the parents. Implied and cut are only set for directories
	// of the delta, and do not set below.
	below bool
	// count is set at the root only. It counts the marks that the marker entries
	// made.
	count *markCount
}

func (m *mark) called() string { return m.name }

// A markCount counts marks, and about how many bytes of memory they take.
type markCount struct{ marks, bytes int64 }

// markCost is the memory of a mark in bytes, without its name. It includes the
// slot in the directory above.
const markCost = 110

// made returns the number and size of the marks that the marker entries made.
// It is called on the root.
func (m *mark) made() markCount {
	if m.count == nil {
		return markCount{}
	}
	return *m.count
}

// at returns the mark of a clean path. It makes the mark if there is none.
func (m *mark) at(p string) *mark {
	for rest := p; rest != "" && rest != "."; {
		var c string
		c, rest, _ = strings.Cut(rest, "/")
		m = m.make(c)
	}
	return m
}

// marker does the same as at for the path of a marker entry. It is called on
// the root, and counts the marks that it makes.
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
		next = &mark{name: strings.Clone(name)} // a clone, so that the mark does not keep the whole path in memory
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

// A role says what an entry of a layer tar is for.
type role uint8

const (
	roleEntry  role = iota // the entry makes a file
	roleMarker             // the entry is a marker, now recorded in the marks
	roleSkip               // the entry is bookkeeping and is ignored
)

// readMarker returns the role of an entry with a clean path. It records a
// marker in the marks. It does not resolve symbolic links in the path of a
// marker: removals happen before any symbolic link of the layer exists, and a
// symbolic link of the parents is not a directory (M1).
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

// pseudoRole returns the role of an entry directly below the pseudo-link
// directory of aufs. Hard links can give such a file a name in the layer, so
// pseudoRole keeps the files that can have several names.
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
			pseudo = true // files directly below are kept as targets of hard links
		case kind == whiteout.Bookkeeping:
			return roleSkip, nil
		case kind != whiteout.None && (more || pseudo):
			// A directory cannot have the name of a marker, so the path means nothing.
			// Markers among the private files of aufs mean nothing either (W9).
			return roleSkip, nil
		case kind == whiteout.Opaque:
			marks.marker(dir).opaque = true
			return roleMarker, nil
		case kind == whiteout.Whiteout:
			if len(target) > maxName {
				return roleMarker, nil // no file can have such a long name
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
