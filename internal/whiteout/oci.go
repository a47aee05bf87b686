package whiteout

import (
	"errors"
	"strings"
)

// The names of the OCI layer format, which took them from aufs.
const (
	// Prefix starts the name of every marker; what follows is the name that is
	// removed.
	Prefix = ".wh."
	// OpaqueMarker says that nothing of the parents is left in its directory.
	OpaqueMarker = MetaPrefix + ".opq"
	// MetaPrefix starts aufs' own bookkeeping names. None of them is ever an
	// ordinary whiteout.
	MetaPrefix = Prefix + Prefix
)

// Bookkeeping that aufs leaves in the root of a writable branch.
const (
	AUFSBase   = MetaPrefix + "aufs" // the inode that aufs' whiteouts are links of
	AUFSOrphan = MetaPrefix + "orph" // a directory of files removed while open
	AUFSPseudo = MetaPrefix + "plnk" // a directory with one name per pseudo-linked inode
)

// ErrName says that a marker's name would leave its directory.
var ErrName = errors.New("whiteout of no name")

// Kind is what a name in a layer means.
type Kind uint8

// What a name can mean.
const (
	None        Kind = iota // an ordinary name
	Whiteout                // removes one name of the parents
	Opaque                  // removes all names of the parents in its directory
	Bookkeeping             // aufs' own; to be ignored
)

// Parse says what a single path component means in a layer. The target is set
// for Whiteout only. ErrName is returned for a whiteout of "", "." or "..".
func Parse(name string) (kind Kind, target string, err error) {
	if !strings.HasPrefix(name, Prefix) {
		return None, "", nil
	}
	if name == OpaqueMarker {
		return Opaque, "", nil
	}
	if strings.HasPrefix(name, MetaPrefix) {
		return Bookkeeping, "", nil
	}
	target = name[len(Prefix):]
	if target == "" || target == "." || target == ".." {
		return None, "", ErrName
	}
	return Whiteout, target, nil
}

// Name returns the marker that removes name: the inverse of Parse for a name
// that is itself no marker.
func Name(name string) string { return Prefix + name }
