package snapshotter

import (
	"slices"
	"strings"

	ctdmount "github.com/containerd/containerd/v2/core/mount"
)

// engineMounts puts mounts in the form that engines can read as well as mount.
//
// BuildKit takes overlay mounts apart to merge layers (COPY --link), and
// refuses any option but the directories, "index=off", "userxattr" and
// "redirect_dir=". It also works on the upper directories themselves, and
// refuses redirects in them; it and other engines expect that renaming a
// directory of the parents gives EXDEV, as on their own overlays. So redirects
// are followed here and none is made. As that is said explicitly, the kernel
// makes no metacopies either, whatever its default; an inode number or a UUID
// is of no consequence to a layer.
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

// withoutUpper makes the upper directory of a read-only overlay, that of a view
// of nothing, the uppermost of the lower ones: "ro" is among what is left out.
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
			// The list has colons between its directories, which are escaped in them.
			out = append(out, "lowerdir="+strings.ReplaceAll(upper, ":", `\:`)+":"+lower)
		default:
			out = append(out, o)
		}
	}
	return out
}

// value returns what follows prefix in the option that has it, empty for none.
func value(options []string, prefix string) string {
	for _, o := range options {
		if v, ok := strings.CutPrefix(o, prefix); ok {
			return v
		}
	}
	return ""
}
