package fstest

import (
	"fmt"
	"sort"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/diff"
)

// Brief lists the tree without the root, one short string a path: "d/",
// "f:body", "l->target", "second==first" for a further name of an inode,
// "p|" for a fifo, "c:char 1:3", "b:block 8:0", "s=" for a socket.
func (t Tree) Brief() []string {
	var lines []string
	for _, p := range t.Paths() {
		if p != "." {
			lines = append(lines, t[p].brief(p))
		}
	}
	return lines
}

func (n Node) brief(p string) string {
	if n.Link != "" && n.Link != p {
		return p + "==" + n.Link
	}
	switch n.Type() {
	case diff.TypeDir:
		return p + "/"
	case diff.TypeSymlink:
		return p + "->" + n.Target
	case diff.TypeFifo:
		return p + "|"
	case diff.TypeSocket:
		return p + "="
	case diff.TypeChar, diff.TypeBlock:
		return fmt.Sprintf("%s:%s %d:%d", p, TypeName(n.Mode), unix.Major(n.Rdev), unix.Minor(n.Rdev))
	default:
		return p + ":" + n.Body
	}
}

// Attrs says mode, owner, modification time and extended attributes:
// "0755 0:0 1000000000.123456789 user.a=1".
func (n Node) Attrs() string {
	s := fmt.Sprintf("%04o %d:%d %d.%09d", n.Perm(), n.UID, n.GID, n.Mtime.Unix(), n.Mtime.Nanosecond())
	var xattrs []string
	for name, value := range n.Xattrs {
		xattrs = append(xattrs, fmt.Sprintf("%s=%s", name, value))
	}
	sort.Strings(xattrs)
	return strings.Join(append([]string{s}, xattrs...), " ")
}
