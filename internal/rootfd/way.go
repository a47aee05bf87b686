package rootfd

import (
	"path"
	"slices"
	"strings"
)

// A Way is the path of a directory below the root of a tree. It has the name of
// the directory and the Way of the directory above. In a deep tree the Ways
// share their upper parts, so the memory does not grow with the square of the
// depth. The root is nil.
type Way struct {
	Up   *Way
	Name string
}

// String returns the path, slash-separated. It returns "." for the root.
func (w *Way) String() string {
	if w == nil {
		return "."
	}
	var names []string
	for ; w != nil; w = w.Up {
		names = append(names, w.Name)
	}
	slices.Reverse(names)
	return strings.Join(names, "/")
}

// Child returns the path of a name in the directory.
func (w *Way) Child(name string) string { return path.Join(w.String(), name) }
