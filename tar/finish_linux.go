package tar

import (
	"github.com/layerkeep/layerkeep/internal/sys"
)

// finish sets the attributes of the directories, now that nothing changes in
// them any more, deepest first, and makes the delta.
func (u *unpacker) finish() (*Delta, error) {
	for _, n := range u.root.dir.children {
		if n.hidden {
			if err := u.remove(n); err != nil {
				return nil, err
			}
		}
	}
	if err := u.finishDir(u.root, ".", u.marks); err != nil {
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

// finishDir finishes what is below a directory; m is the directory's mark, nil
// when there is none yet.
func (u *unpacker) finishDir(n *node, p string, m *mark) error {
	if err := u.ctx.Err(); err != nil {
		return err
	}
	for name, c := range n.dir.children {
		if c.kind != kindDir {
			continue
		}
		if !c.explicit || c.cut {
			if m == nil {
				m = u.marks.at(p)
			}
			cm := m.make(name)
			cm.implied, cm.cut = !c.explicit, c.cut
		}
		cp := joinPath(p, name)
		if err := u.finishDir(c, cp, m.child(name)); err != nil {
			return err
		}
		a := c.dir.attrs
		if a == nil {
			a = impliedAttrs()
		}
		h, err := u.dirs.get(n)
		if err != nil {
			return err
		}
		u.writers.add(&job{dir: h, name: name, path: cp, pos: -1, attrs: *a, do: (*maker).directory})
	}
	return nil
}

// finishRoot gives the staging directory the attributes of the root entry, from
// where Merge takes them.
func (u *unpacker) finishRoot() error {
	if !u.root.explicit {
		return nil
	}
	fd, err := sys.OpenDirat(int(u.staging.Fd()), ".")
	if err != nil {
		return err
	}
	return u.maker.complete(fd, &job{path: ".", attrs: *u.root.dir.attrs}, modeUnknown, nil)
}
