package snapshotter

import (
	"slices"
	"strings"

	ctdmount "github.com/containerd/containerd/v2/core/mount"
)

// engineMounts changes mounts so that engines can also interpret their options.
//
// BuildKit splits overlay mounts into their directories to merge layers (COPY
// --link). It refuses all options except the directories, "index=off",
// "userxattr" and "redirect_dir=". It also works on the upper directories
// themselves, and refuses redirects in them. BuildKit and other engines expect
// that renaming a directory of the parents returns EXDEV, as on their own
// overlays.
//
// So these mounts follow redirects and make none. Because redirect_dir is given
// explicitly, the kernel makes no metacopies either, whatever its default is.
// The options for inode numbers and UUIDs make no difference to a layer, so
// they are left out.
func engineMounts(mounts []ctdmount.Mount) []ctdmount.Mount {
	out := slices.Clone(mounts)
	for i, m := range out {
		if m.Type == "overlay" {
			out[i].Options = engineOverlay(m.Options)
		}
	}
	return out
}

func engineOverlay(options []string) []string {
	var out []string
	for _, o := range withoutUpper(options) {
		name, _, _ := strings.Cut(o, "=")
		switch name {
		case "ro", "rw", "xino", "uuid", "metacopy":
			// An overlay without an upper directory is read-only by itself.
		case "redirect_dir":
			out = append(out, "redirect_dir=follow")
		default:
			out = append(out, o)
		}
	}
	return out
}

// withoutUpper changes a read-only overlay that has an upper directory, which
// is a view without a parent: the upper directory becomes the uppermost lower
// directory. engineOverlay removes "ro", without which the upper directory
// would be writable.
func withoutUpper(options []string) []string {
	upper := value(options, "upperdir=")
	if upper == "" || !slices.Contains(options, "ro") {
		return options
	}
	var out []string
	for _, o := range options {
		switch name, lower, _ := strings.Cut(o, "="); name {
		case "upperdir", "workdir":
		case "lowerdir":
			// Colons separate the directories, so a colon in a directory is escaped.
			out = append(out, "lowerdir="+strings.ReplaceAll(upper, ":", `\:`)+":"+lower)
		default:
			out = append(out, o)
		}
	}
	return out
}

// value returns the rest of the option that begins with prefix, or the empty
// string.
func value(options []string, prefix string) string {
	for _, o := range options {
		if v, ok := strings.CutPrefix(o, prefix); ok {
			return v
		}
	}
	return ""
}
