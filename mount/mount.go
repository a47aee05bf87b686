// Package mount describes mounts as values and mounts them.
//
// A backend returns [Mount] values, which name their directories in fields. So
// no program has to parse an option string to find a directory. This is not a
// general mount library: it knows bind, overlay and aufs mounts, and the system
// interfaces mount(2) and fsopen(2).
//
//	m := mount.Mount{Type: "overlay", Source: "overlay", Overlay: &mount.Overlay{
//		Lower: []string{"/layers/2/fs", "/layers/1/fs"}, // uppermost first
//		Upper: "/layers/3/fs", Work: "/layers/3/work",
//	}}
//	err := mount.All(ctx, []mount.Mount{m}, "/mnt")
//	err = mount.Unmount("/mnt")
package mount

// A Mount says how to mount one file system. It is a plain value: it can be
// stored, printed and compared.
type Mount struct {
	// Type is "bind", "overlay" or "aufs".
	Type string
	// Source is the directory to bind. For overlay and aufs it is only a label.
	Source string
	// ReadOnly asks for a read-only mount.
	ReadOnly bool
	// Overlay has the directories of an overlay mount. It is nil for other
	// types.
	Overlay *Overlay
	// AUFS has the branches of an aufs mount or remount. It is nil for other
	// types.
	AUFS *AUFS
	// Options are the other options of the file system, such as
	// "redirect_dir=on", in a stable order. They never contain directories or
	// flags.
	Options []string
	// IDMap, when set, translates the owners of files: those of a bind mount,
	// and those of the lower directories of an overlay. It does not translate
	// the upper directory, which holds IDs of the host. Not for aufs.
	IDMap *IDMap
}

// Overlay names the directories of an overlay mount. All paths are absolute.
type Overlay struct {
	// Lower are the lower directories, uppermost first: at least one, at most
	// [MaxLower].
	Lower []string
	// Upper and Work are both set. Both are empty for a read-only mount.
	Upper, Work string
}

// MaxLower is the largest number of lower directories of one overlay
// (OVL_MAX_STACK in the kernel).
const MaxLower = 500
