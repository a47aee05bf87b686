package difftest

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/layerkeep/layerkeep/diff"
)

// Collect returns the changes of a sequence as a list. Their content cannot be
// opened any more.
func Collect(changes iter.Seq2[diff.Change, error]) ([]diff.Change, error) {
	var all []diff.Change
	for c, err := range changes {
		if err != nil {
			return all, err
		}
		all = append(all, c)
	}
	return all, nil
}

// Lines returns one line for each change, see [Line].
func Lines(changes []diff.Change) []string {
	lines := make([]string, len(changes))
	for i, c := range changes {
		lines[i] = Line(c)
	}
	return lines
}

// Line returns everything that matters about a change.
func Line(c diff.Change) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %q", c.Kind, c.Path)
	switch {
	case c.Kind == diff.Delete:
		return b.String()
	case c.Hardlink != "":
		fmt.Fprintf(&b, " = %q", c.Hardlink)
		return b.String()
	}
	n := c.Node
	fmt.Fprintf(&b, " %o %d:%d %d.%09d", n.Mode, n.UID, n.GID, n.Mtime.Unix(), n.Mtime.Nanosecond())
	switch {
	case n.IsRegular():
		fmt.Fprintf(&b, " size %d", n.Size)
	case n.IsSymlink():
		fmt.Fprintf(&b, " -> %q", c.Linkname)
	case n.IsDevice():
		fmt.Fprintf(&b, " rdev %#x", n.Rdev)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Xattrs)) {
		fmt.Fprintf(&b, " %s=%q", name, c.Xattrs[name])
	}
	return b.String()
}

// Paths returns each change as "M /path". The root is "M /".
func Paths(changes []diff.Change) []string {
	lines := make([]string, len(changes))
	for i, c := range changes {
		p := "/" + c.Path
		if c.Path == "." {
			p = "/"
		}
		lines[i] = c.Kind.String() + " " + p
	}
	return lines
}
