package whiteout

import "strings"

// Encoding is one way to keep removals in a directory on disk. The set is
// sealed; the zero value is Plain.
type Encoding uint8

// The encodings.
const (
	// Plain trees hold no removals: what is removed is gone.
	Plain Encoding = iota
	// Overlay is overlayfs as the initial user namespace mounts it: a whiteout
	// is a 0:0 character device, an opaque directory has trusted.overlay.opaque=y.
	Overlay
	// OverlayUser is the same with "user.overlay." attributes, for mounts with
	// userxattr.
	OverlayUser
	// AUFS keeps the names of the OCI format as empty files, mode 0444: a
	// whiteout has another name than what it hides. Extended attributes are plain.
	AUFS
)

// String returns the name of the encoding.
func (e Encoding) String() string {
	switch e {
	case Plain:
		return "plain"
	case Overlay:
		return "overlay"
	case OverlayUser:
		return "overlay (userxattr)"
	case AUFS:
		return "aufs"
	default:
		return "unknown"
	}
}

// XattrPrefix is the prefix of the encoding's own extended attributes:
// "trusted.overlay." or "user.overlay.", empty when it has none.
func (e Encoding) XattrPrefix() string {
	switch e {
	case Overlay:
		return "trusted.overlay."
	case OverlayUser:
		return "user.overlay."
	default:
		return ""
	}
}

// Xattr returns the full name of one of the encoding's own attributes;
// e.Xattr("opaque") is "trusted.overlay.opaque" for Overlay. It is empty when
// the encoding has none.
func (e Encoding) Xattr(name string) string {
	if p := e.XattrPrefix(); p != "" {
		return p + name
	}
	return ""
}

const escape = "overlay."

// notCarried reports attributes that are never part of a layer: the label of
// the host's own policy (A5), the names under which XFS lists POSIX ACLs a
// second time, in its own format, and the properties of btrfs, such as
// "btrfs.compression", which say how a file is kept and which no other file
// system takes.
func notCarried(name string) bool {
	switch name {
	case "security.selinux", "trusted.SGI_ACL_FILE", "trusted.SGI_ACL_DEFAULT":
		return true
	default:
		return strings.HasPrefix(name, "btrfs.")
	}
}

// XattrToDisk returns the name under which an attribute of the tree is kept on
// disk, and false when it is not carried. Names that the encoding uses itself
// are escaped as overlayfs does (overlayfs.rst, "Nesting overlayfs mounts"), so
// that what a layer says never becomes active: no attribute with the prefix is
// ever active after XattrToDisk.
//
// The inverse law: XattrFromDisk(XattrToDisk(x)) is x for every x that is
// carried.
func (e Encoding) XattrToDisk(name string) (string, bool) {
	if notCarried(name) {
		return "", false
	}
	if p := e.XattrPrefix(); p != "" && strings.HasPrefix(name, p) {
		return p + escape + name[len(p):], true
	}
	return name, true
}

// XattrFromDisk returns the name by which a view shows an attribute found on
// disk, and false when it belongs to the encoding or is not carried. See
// XattrToDisk for the law.
func (e Encoding) XattrFromDisk(name string) (string, bool) {
	if notCarried(name) {
		return "", false
	}
	p := e.XattrPrefix()
	if p == "" || !strings.HasPrefix(name, p) {
		return name, true
	}
	if rest, ok := strings.CutPrefix(name[len(p):], escape); ok {
		return p + rest, true
	}
	return "", false
}

// Shown returns the attributes by which a view shows those found on disk, see
// XattrFromDisk.
func (e Encoding) Shown(attrs map[string]string) map[string]string {
	if len(attrs) == 0 {
		return attrs
	}
	view := make(map[string]string, len(attrs))
	for name, value := range attrs {
		if name, ok := e.XattrFromDisk(name); ok {
			view[name] = value
		}
	}
	return view
}

// IsWhiteoutNode reports whether a file with this st_mode and st_rdev is a
// whiteout by itself: a 0:0 character device. The other form that overlayfs
// reads, an empty file with an "overlay.whiteout" attribute in a directory
// marked opaque=x, needs [Encoding.IsWhiteout].
func (e Encoding) IsWhiteoutNode(mode uint32, rdev uint64) bool {
	const typeMask, char = 0o170000, 0o020000
	return (e == Overlay || e == OverlayUser) && mode&typeMask == char && rdev == 0
}

// MergesPastFiles reports whether a directory that is not opaque merges with
// one further below although a layer between has another file of that name.
// Overlayfs ends the search there; aufs passes over what is of another type.
func (e Encoding) MergesPastFiles() bool { return e == AUFS }

// Opacity is what a directory says of the layers below it.
type Opacity uint8

// The opacities.
const (
	// Merged: the directories below show through.
	Merged Opacity = iota
	// OpaqueDir: nothing below shows through (opaque=y).
	OpaqueDir
	// HasXattrWhiteouts: merged, and empty files in it may be whiteouts (opaque=x).
	HasXattrWhiteouts
)
