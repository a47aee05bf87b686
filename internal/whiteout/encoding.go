package whiteout

import "strings"

// Encoding is one way to store removals in a directory on disk. There are no
// other values than the constants. The zero value is Plain.
type Encoding uint8

// The encodings.
const (
	// Plain trees have no whiteouts: what is removed is gone.
	Plain Encoding = iota
	// Overlay is the encoding of overlayfs mounted in the initial user namespace. A
	// whiteout is a 0:0 character device. An opaque directory has
	// trusted.overlay.opaque=y.
	Overlay
	// OverlayUser is the same with "user.overlay." attributes, for mounts with
	// userxattr.
	OverlayUser
	// AUFS stores the names of the OCI format as empty files with mode 0444. So a
	// whiteout has another name than the file that it hides. Extended attributes
	// are not escaped.
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

// XattrPrefix returns the prefix of the encoding's own extended attributes:
// "trusted.overlay." or "user.overlay.". It returns "" if the encoding has
// none.
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

// Xattr returns the full name of one of the encoding's own attributes. For
// Overlay, e.Xattr("opaque") is "trusted.overlay.opaque". It returns "" if the
// encoding has none.
func (e Encoding) Xattr(name string) string {
	if p := e.XattrPrefix(); p != "" {
		return p + name
	}
	return ""
}

const escape = "overlay."

// notCarried reports whether an attribute is never part of a layer. These are:
// the label of the host's own policy (A5); the names under which XFS lists
// POSIX ACLs a second time, in its own format; and the properties of btrfs,
// such as "btrfs.compression", which say how a file is stored and which no
// other file system accepts.
func notCarried(name string) bool {
	switch name {
	case "security.selinux", "trusted.SGI_ACL_FILE", "trusted.SGI_ACL_DEFAULT":
		return true
	default:
		return strings.HasPrefix(name, "btrfs.")
	}
}

// XattrToDisk returns the name under which an attribute of the tree is stored
// on disk. It returns false for an attribute that is not part of a layer. It
// escapes names that the encoding uses itself, as overlayfs does
// (overlayfs.rst, "Nesting overlayfs mounts"). So an attribute of a layer is
// never active on disk.
//
// The inverse law: XattrFromDisk(XattrToDisk(x)) is x for every x that is part
// of a layer.
func (e Encoding) XattrToDisk(name string) (string, bool) {
	if notCarried(name) {
		return "", false
	}
	if p := e.XattrPrefix(); p != "" && strings.HasPrefix(name, p) {
		return p + escape + name[len(p):], true
	}
	return name, true
}

// XattrFromDisk returns the name under which a view shows an attribute found on
// disk. It returns false for an attribute that belongs to the encoding or is
// not part of a layer. See XattrToDisk for the law.
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

// Shown returns the attributes that a view shows for those found on disk, see
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
// whiteout by itself: a 0:0 character device. Overlayfs also reads another
// form: an empty file with an "overlay.whiteout" attribute, in a directory
// marked opaque=x. [Encoding.IsWhiteout] recognizes both.
func (e Encoding) IsWhiteoutNode(mode uint32, rdev uint64) bool {
	const typeMask, char = 0o170000, 0o020000
	return (e == Overlay || e == OverlayUser) && mode&typeMask == char && rdev == 0
}

// MergesPastFiles reports whether a directory that is not opaque merges with
// one further below, even if a layer between them has another type of file at
// that name. Overlayfs ends the search at that file. Aufs skips it.
func (e Encoding) MergesPastFiles() bool { return e == AUFS }

// Opacity says whether the layers below show through a directory.
type Opacity uint8

// The opacities.
const (
	// Merged: the directories below show through.
	Merged Opacity = iota
	// OpaqueDir: nothing below shows through (opaque=y).
	OpaqueDir
	// HasXattrWhiteouts: like Merged, and empty files in the directory may be
	// whiteouts (opaque=x).
	HasXattrWhiteouts
)
