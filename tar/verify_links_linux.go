package tar

import (
	"slices"
	"strconv"

	"github.com/layerkeep/layerkeep/diff"
)

// fileLinks knows which names are one file, and which names should be. The key
// of a file that should be one is its *wanted. If the layer does not make the
// file, the key is its inode in the layers below. Only files that have several
// names on either side are in it.
type fileLinks struct {
	groups map[any]*linkGroup
	owners map[inode]linkOwner // of merged
}

// linkGroup has the names that should be one file.
type linkGroup struct {
	first  string  // the first of its names
	inodes []inode // the inodes that the names have in merged
}

type linkOwner struct {
	key  any
	path string
}

func newFileLinks() *fileLinks {
	return &fileLinks{groups: map[any]*linkGroup{}, owners: map[inode]linkOwner{}}
}

// link compares which file a name belongs to. It reports whether the other
// attributes of that file were already compared under another name. A file that
// was split into several files gives one finding for each of them except the
// first.
func (c *comparison) link(p string, key any, got *diff.Node, below bool) (seen bool) {
	id := inodeOf(got)
	g := c.links.groups[key]
	if g == nil {
		g = &linkGroup{first: p}
		c.links.groups[key] = g
	}
	if slices.Contains(g.inodes, id) {
		return true
	}
	if len(g.inodes) > 0 {
		c.findings.add(Finding{
			Path: p, Kind: FindingHardlink, Below: below,
			Want: "one file with " + strconv.Quote(g.first), Got: "file of its own",
		})
	}
	g.inodes = append(g.inodes, id)
	owner, taken := c.links.owners[id]
	switch {
	case !taken:
		c.links.owners[id] = linkOwner{key, p}
	case owner.key != key:
		c.findings.add(Finding{
			Path: p, Kind: FindingHardlink, Below: below,
			Want: "another file", Got: "name of " + strconv.Quote(owner.path),
		})
	}
	return false
}
