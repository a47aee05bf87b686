package tar

import (
	"github.com/layerkeep/layerkeep/internal/attrs"
	"github.com/layerkeep/layerkeep/internal/sys"
)

// describe stores the attributes of a directory. They are set at the end, when
// the content of the directory no longer changes.
func (u *unpacker) describe(n *node, a *attributes) error {
	at, err := u.dirAttrs.add(a)
	n.dir.kept = at + 1
	return err
}

// attrsOf returns the attributes for a directory.
func (u *unpacker) attrsOf(n *node) (*attributes, error) {
	if n.dir.kept == 0 {
		return impliedAttrs(), nil
	}
	return u.dirAttrs.get(n.dir.kept - 1)
}

// finish sets the attributes of all directories, the deepest first, now that
// their content no longer changes. It returns the delta.
func (u *unpacker) finish() (*Delta, error) {
	for n := range u.root.dir.children.all() {
		if n.hidden {
			if err := u.remove(n); err != nil {
				return nil, err
			}
		}
	}
	if err := u.finishDirs(); err != nil {
		return nil, err
	}
	if err := u.writers.drain(); err != nil {
		return nil, err
	}
	if err := u.finishRoot(); err != nil {
		return nil, err
	}
	return &Delta{
		staging: u.staging, encoding: u.opts.Encoding, detached: u.opts.Detached,
		root: u.root.explicit, escaped: u.escaped, marks: u.marks,
	}, nil
}

// finishDirs finishes all directories below the root. It finishes a directory
// after those inside it.
func (u *unpacker) finishDirs() error {
	type open struct {
		dir  *node
		left []*node // child directories that are not finished yet
	}
	way := []open{{u.root, dirsIn(u.root)}}
	for {
		top := &way[len(way)-1]
		if n := len(top.left) - 1; n >= 0 {
			next := top.left[n]
			top.left = top.left[:n]
			way = append(way, open{next, dirsIn(next)})
			continue
		}
		if len(way) == 1 {
			return nil
		}
		n := top.dir
		way = way[:len(way)-1]
		if err := u.finishDir(n); err != nil {
			return err
		}
	}
}

func dirsIn(n *node) (dirs []*node) {
	for c := range n.dir.children.all() {
		if c.kind == kindDir {
			dirs = append(dirs, c)
		}
	}
	return dirs
}

func (u *unpacker) finishDir(n *node) error {
	if err := u.ctx.Err(); err != nil {
		return err
	}
	if !n.explicit || n.cut {
		m := u.markOf(n)
		m.implied, m.cut = !n.explicit, n.cut
	}
	a, err := u.attrsOf(n)
	if err != nil {
		return err
	}
	h, err := u.dirs.above(n)
	if err != nil {
		return err
	}
	u.writers.add(&job{dir: h, name: n.name, of: n, pos: -1, attrs: *a, do: (*maker).directory})
	return nil
}

// finishRoot sets the attributes of the root entry on the staging directory.
// Merge reads them from there.
func (u *unpacker) finishRoot() error {
	if !u.root.explicit {
		return nil
	}
	a, err := u.attrsOf(u.root)
	if err != nil {
		return err
	}
	fd, err := sys.OpenDirat(int(u.staging.Fd()), ".")
	if err != nil {
		return err
	}
	return u.maker.complete(fd, &job{path: ".", attrs: *a}, attrs.UnknownMode, nil)
}
