package fstest

import (
	"fmt"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/layerkeep/layerkeep/diff"
)

// fields says a node as named values, in the order in which they are printed.
func (n Node) fields() [][2]string {
	fields := [][2]string{
		{"type", TypeName(n.Mode)},
		{"perm", fmt.Sprintf("%04o", n.Perm())},
		{"owner", fmt.Sprintf("%d:%d", n.UID, n.GID)},
		{"mtime", fmt.Sprintf("%d.%09d", n.Mtime.Unix(), n.Mtime.Nanosecond())},
	}
	switch n.Type() {
	case diff.TypeRegular:
		fields = append(fields, [2]string{"size", fmt.Sprint(n.Size)}, [2]string{"body", fmt.Sprintf("%q", n.Body)})
	case diff.TypeSymlink:
		fields = append(fields, [2]string{"target", fmt.Sprintf("%q", n.Target)})
	case diff.TypeChar, diff.TypeBlock:
		fields = append(fields, [2]string{"rdev", fmt.Sprintf("%#x", n.Rdev)})
	}
	names := make([]string, 0, len(n.Xattrs))
	for name := range n.Xattrs {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		fields = append(fields, [2]string{"xattr " + name, fmt.Sprintf("%q", n.Xattrs[name])})
	}
	if n.Link != "" {
		fields = append(fields, [2]string{"linked with", n.Link})
	}
	return fields
}

// String says the node in one line.
func (n Node) String() string {
	var parts []string
	for _, f := range n.fields() {
		parts = append(parts, f[0]+"="+f[1])
	}
	return strings.Join(parts, " ")
}

// TypeName returns the name of the file type in a mode.
func TypeName(mode uint32) string {
	switch mode & diff.TypeMask {
	case diff.TypeDir:
		return "directory"
	case diff.TypeRegular:
		return "file"
	case diff.TypeSymlink:
		return "symlink"
	case diff.TypeChar:
		return "char"
	case diff.TypeBlock:
		return "block"
	case diff.TypeFifo:
		return "fifo"
	case diff.TypeSocket:
		return "socket"
	default:
		return fmt.Sprintf("type %o", mode&diff.TypeMask)
	}
}

// Compare says how got differs from want, one line for each difference; empty
// when the trees are equal. A nil and an empty set of xattrs are equal.
func Compare(want, got Tree) string {
	all := Tree{}
	for p := range want {
		all[p] = Node{}
	}
	for p := range got {
		all[p] = Node{}
	}
	var lines []string
	for _, p := range all.Paths() {
		w, inWant := want[p]
		g, inGot := got[p]
		switch {
		case !inWant:
			lines = append(lines, fmt.Sprintf("/%s: must not exist, got %s", p, g))
		case !inGot:
			lines = append(lines, fmt.Sprintf("/%s: missing, want %s", p, w))
		default:
			lines = append(lines, compareNodes(p, w, g)...)
		}
	}
	return strings.Join(lines, "\n")
}

func compareNodes(p string, want, got Node) []string {
	w, g := want.fields(), got.fields()
	if slices.Equal(w, g) {
		return nil
	}
	var lines []string
	value := func(fields [][2]string, name string) string {
		for _, f := range fields {
			if f[0] == name {
				return f[1]
			}
		}
		return "none"
	}
	seen := map[string]bool{}
	for _, f := range slices.Concat(w, g) {
		if a, b := value(w, f[0]), value(g, f[0]); a != b && !seen[f[0]] {
			lines = append(lines, fmt.Sprintf("/%s: %s: want %s, got %s", p, f[0], a, b))
		}
		seen[f[0]] = true
	}
	return lines
}

// RequireEqual fails the test with all differences when the trees differ.
func RequireEqual(tb testing.TB, want, got Tree, what string) {
	tb.Helper()
	if d := Compare(want, got); d != "" {
		tb.Fatalf("%s: the tree is not the expected one\n%s", what, d)
	}
}
