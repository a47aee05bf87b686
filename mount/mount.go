// Package mount describes mounts as values and carries them out.
//
// A backend returns [Mount] values; nobody has to take an option string apart
// to find a directory again. It is not a general mount library: it knows bind,
// overlay and aufs mounts, and the two system interfaces for them, mount(2) and
// the descriptor-based one of fsopen(2).
package mount

// A Mount says how to mount one file system. It has no side effects and may be
// kept, printed and compared.
type Mount struct {
	// Type is "bind", "overlay" or "aufs".
	Type string
	// Source is the directory to bind, or a label for overlay and aufs.
	Source string
	// ReadOnly mounts read-only.
	ReadOnly bool
	// Overlay holds the directories of an overlay mount, nil for others.
	Overlay *Overlay
	// AUFS holds the branches of an aufs mount or remount, nil for others.
	AUFS *AUFS
	// Options are the remaining file-system options, such as "redirect_dir=on",
	// in a stable order; never directories, never flags.
	Options []string
	// IDMap, when set, maps the owners of what is mounted: of what a bind shows, and of
	// an overlay's lower directories. The upper directory is not mapped, it holds
	// the host's IDs. Not for aufs.
	IDMap *IDMap
}

// Overlay names the directories of an overlay mount, all absolute paths.
type Overlay struct {
	// Lower are the lower directories, uppermost first. At least one, at most
	// [MaxLower].
	Lower []string
	// Upper and Work are both set, or both empty for a read-only mount.
	Upper, Work string
}

// MaxLower is how many lower directories one overlay can have
// (OVL_MAX_STACK in the kernel).
const MaxLower = 500
