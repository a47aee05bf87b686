package rootfd

import (
	"path"
	"slices"
	"strings"
)

// A Way is the path of a directory below the root of a tree: one name of it,
// below the rest. Of a deep tree the directories on the way share theirs, so
// that they do not grow with the square of its depth. The root is nil.
type Way struct {
	Up   *Way
	Name string
}

// String returns the path, slash-separated; "." for the root.
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
