package whiteout

import (
	"errors"
	"strings"
)

// The names of the OCI layer format, which come from aufs.
const (
	// Prefix starts the name of every marker. The rest is the name that is removed.
	Prefix = ".wh."
	// OpaqueMarker hides everything that the parents have in its directory.
	OpaqueMarker = MetaPrefix + ".opq"
	// MetaPrefix starts the names that aufs uses for bookkeeping. Such a name is
	// never an ordinary whiteout.
	MetaPrefix = Prefix + Prefix
)

// Bookkeeping files that aufs leaves in the root of a writable branch.
const (
	AUFSBase   = MetaPrefix + "aufs" // the inode that the whiteouts of aufs are links to
	AUFSOrphan = MetaPrefix + "orph" // a directory of files removed while open
	AUFSPseudo = MetaPrefix + "plnk" // a directory with one name per pseudo-linked inode
)

// ErrName says that the name of a marker would lead out of its directory.
var ErrName = errors.New("whiteout of no name")

// Kind is the meaning of a name in a layer.
type Kind uint8

// The meanings of a name.
const (
	None        Kind = iota // an ordinary name
	Whiteout                // removes one name of the parents
	Opaque                  // removes all names of the parents in its directory
	Bookkeeping             // a file of aufs; to be ignored
)

// Parse returns the meaning of a single path component in a layer. target is
// set only for Whiteout. Parse returns ErrName for a whiteout of "", "." or
// "..".
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

// Name returns the marker that removes name. It inverts Parse for a name that
// is not a marker itself.
func Name(name string) string { return Prefix + name }
