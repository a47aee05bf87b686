package mount

// A Way is one of the system interfaces that mount an overlay. Kernels have
// one, two or all of them; a [Mounter] tries them in this order. The zero value
// is no way.
type Way uint8

const (
	// WayDescriptors is fsopen(2) with an open descriptor for each directory.
	// Needs Linux 6.15: kernels before 6.13 refuse descriptors here, and those before
	// 6.15 the ones that were opened with O_PATH.
	WayDescriptors Way = iota + 1
	// WayStrings is fsopen(2) with one string of at most 255 bytes for each
	// directory. Needs Linux 6.7 (the option "lowerdir+").
	WayStrings
	// WayMount2 is mount(2) with all options in one string of less than a page.
	// Works on every kernel.
	WayMount2

	lastWay = WayMount2
)

// String returns the name by which the way is known to users and in JSON:
// "descriptors", "strings" or "mount(2)"; empty for no way.
func (w Way) String() string {
	switch w {
	case WayDescriptors:
		return "descriptors"
	case WayStrings:
		return "strings"
	case WayMount2:
		return "mount(2)"
	default:
		return ""
	}
}

// ParseWay is the inverse of String; no way for a name that is none.
func ParseWay(name string) Way {
	for w := WayDescriptors; w <= lastWay; w++ {
		if w.String() == name {
			return w
		}
	}
	return 0
}

// Explain says in one line how the way names the directories of an overlay, and
// what follows from that for layers and paths.
func (w Way) Explain() string {
	switch w {
	case WayDescriptors:
		return "fsopen(2), directories by descriptor: up to 500 layers, any path"
	case WayStrings:
		return "fsopen(2), directories by name: up to 500 layers, any path; " +
			"a path over 255 bytes is shown shortened in the mount table"
	case WayMount2:
		return "mount(2), all directories in one page: up to 500 layers, any path; " +
			"paths that do not fit are shown shortened in the mount table"
	default:
		return ""
	}
}
