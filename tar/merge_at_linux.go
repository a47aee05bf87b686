package tar

import (
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/whiteout"
)

// at is what the target has at a name.
type at struct {
	st     unix.Stat_t
	exists bool // there is a file of that name
	marked bool // there is a whiteout of another name that hides it
}

// find looks a name up in a directory of the target.
func (g *merger) find(dst int, name string) (a at, err error) {
	if a.st, a.exists, err = lstat(dst, name); err != nil {
		return a, err
	}
	a.marked, err = g.enc.IsRemoved(dst, name)
	return a, err
}

// any reports whether the name is taken in the target, be it by a whiteout.
func (a at) any() bool { return a.exists || a.marked }

// isDir reports whether the target shows a directory of its own. What is beside
// a whiteout of its name is not shown.
func (a at) isDir() bool {
	return a.exists && !a.marked && a.st.Mode&unix.S_IFMT == unix.S_IFDIR
}

// isHidden reports whether the target hides the name of the parents and shows
// nothing in its place.
func (a at) isHidden(enc whiteout.Encoding) bool {
	return a.marked || a.exists && enc.IsWhiteoutNode(a.st.Mode, a.st.Rdev)
}

// withoutMark is all but what hides the name.
func (a at) withoutMark() at {
	if a.marked {
		a.marked = false
		return a
	}
	return at{}
}

// clear makes a name of the target free: what has the name, and a whiteout of
// the name, which would hide what is moved there.
func (g *merger) clear(l *level, name string, a at) error {
	if a.exists {
		if err := g.moveAside(l, name); err != nil {
			return err
		}
	}
	if a.marked {
		return g.moveAside(l, g.enc.MarkOf(name))
	}
	return nil
}

// toPrepare returns the names in a directory of the staging area that prepare
// has to look at: those with marks and, where a directory must be marked
// whenever the parents have a file in its place, all directories.
func (g *merger) toPrepare(fd int, m *mark, showsThrough bool) ([]string, error) {
	names := m.names()
	if !showsThrough || !g.enc.MergesPastFiles() {
		return names, nil
	}
	list, err := listDir(fd)
	if err != nil {
		return nil, err
	}
	for _, e := range list {
		if e.dir && m.child(e.name) == nil {
			names = append(names, e.name)
		}
	}
	return names, nil
}
