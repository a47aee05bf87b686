package tar

import (
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/whiteout"
)

// An at says what the target has at a name.
type at struct {
	st     unix.Stat_t
	exists bool // a file has the name
	marked bool // a whiteout file with a name of its own hides the name
}

// find looks a name up in a directory of the target.
func (g *merger) find(dst int, name string) (a at, err error) {
	if a.st, a.exists, err = lstat(dst, name); err != nil {
		return a, err
	}
	a.marked, err = g.enc.IsRemoved(dst, name)
	return a, err
}

// any reports whether the target has a file or a whiteout for the name.
func (a at) any() bool { return a.exists || a.marked }

// isDir reports whether the target shows a directory of its own. A whiteout
// with a name of its own hides what is beside it.
func (a at) isDir() bool {
	return a.exists && !a.marked && a.st.Mode&unix.S_IFMT == unix.S_IFDIR
}

// isHidden reports whether the target hides the name of the parents and shows
// nothing in its place.
func (a at) isHidden(enc whiteout.Encoding) bool {
	return a.marked || a.exists && enc.IsWhiteoutNode(a.st.Mode, a.st.Rdev)
}

// withoutMark returns what is at the name, without the file that hides the name
// from the parents.
func (a at) withoutMark() at {
	if a.marked {
		a.marked = false
		return a
	}
	return at{}
}

// clear frees a name in the target. It moves the file of that name to the
// trash, and also a whiteout for the name, which would hide the file that is
// moved in next.
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
// must look at: the names with marks. Some encodings mark every directory that
// replaces a file of the parents; for these, the result also has all
// directories.
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
