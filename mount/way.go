package mount

// A Way is a system interface that can mount an overlay. A kernel has one, two
// or all of them. A [Mounter] tries them in this order. The zero value is no
// way.
type Way uint8

const (
	// WayDescriptors is fsopen(2) with an open descriptor for each directory.
	// It needs Linux 6.15: kernels before 6.13 refuse descriptors here, and
	// kernels before 6.15 refuse descriptors that were opened with O_PATH.
	WayDescriptors Way = iota + 1
	// WayStrings is fsopen(2) with one string of at most 255 bytes for each
	// directory. It needs Linux 6.7 (the option "lowerdir+").
	WayStrings
	// WayMount2 is mount(2) with all options in one string of less than a page.
	// It works on every kernel.
	WayMount2

	lastWay = WayMount2
)

// String returns the name of the way for users and in JSON: "descriptors",
// "strings" or "mount(2)". It returns "" for no way.
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

// ParseWay returns the way with the given name, as [Way.String] returns it. It
// returns no way (zero) for an unknown name.
func ParseWay(name string) Way {
	for w := WayDescriptors; w <= lastWay; w++ {
		if w.String() == name {
			return w
		}
	}
	return 0
}

// Explain returns one line that says how the way passes the directories of an
// overlay to the kernel, and what this means for the number of layers and the
// length of paths.
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
