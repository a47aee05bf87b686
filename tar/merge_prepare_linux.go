package tar

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/internal/sys"
)

// prepare completes a directory of the staging area before it is moved into the
// target, under a name that the target does not have. It writes what the layers
// below make necessary: whiteouts, opaque marks, and the attributes of
// directories without an entry. It visits only directories that have marks, and
// for aufs also those that the parents have. below is the directory of the
// parents that contains name. replaces says that the directory takes the place
// of another file of the target.
//
// prepare reports whether the directory hides anything.
func (g *merger) prepare(src *openDir, name string, m *mark, below diff.Dir, replaces bool) (hides bool, err error) {
	under, exists, err := lookupIn(below, name)
	if err != nil {
		return false, err
	}
	plain := m == nil
	if plain {
		if !exists {
			return false, nil
		}
		m = &mark{}
	}
	fd, err := sys.OpenDirat(src.fd, name)
	if err != nil {
		return false, err
	}
	dir, err := g.prepared.push(fd)
	if err != nil {
		return false, err
	}
	defer func() {
		if err == nil { // after an error, merge closes what is open
			err = g.prepared.pop()
		}
	}()
	a, err := readDirAttrs(dir.fd, g.enc)
	if err != nil {
		return false, err
	}
	covers := replaces || m.cut || m.whiteout || exists && !under.IsDir()

	var inside diff.Dir // the directory of the parents that still shows through
	if exists && under.IsDir() && !covers {
		if inside, err = below.OpenDir(name); err != nil {
			return false, err
		}
		defer inside.Close()
		if m.implied {
			if a, err = g.viewAttrs(inside); err != nil {
				return false, err
			}
		}
	}
	opaque := exists && (covers || m.opaque)
	if opaque {
		if err := g.enc.SetOpaque(dir.fd); err != nil {
			return false, err
		}
		inside = nil
	}
	hides, err = g.prepareChildren(dir, m, inside)
	if err != nil || plain && !opaque {
		return hides, err // without marks, only directories below this one were changed
	}
	return hides || opaque, g.setDirAttrs(dir.fd, *a, nil)
}

func (g *merger) prepareChildren(dir *openDir, m *mark, inside diff.Dir) (hides bool, err error) {
	names, err := g.toPrepare(dir.fd, m, inside != nil)
	if err != nil {
		return false, err
	}
	for _, name := range names {
		cm := m.child(name)
		st, exists, err := lstat(dir.fd, name)
		if err != nil {
			return false, err
		}
		var h bool
		switch {
		case exists && st.Mode&unix.S_IFMT == unix.S_IFDIR:
			h, err = g.prepare(dir, name, cm, inside, false)
		case exists || inside == nil:
		case cm.whiteout:
			h, err = g.hide(dir.fd, name, inside)
		case cm.below:
			h, err = g.prepareCopy(dir, name, cm, inside)
		}
		if err != nil {
			return false, err
		}
		hides = hides || h
	}
	return hides, nil
}

// hide makes a whiteout if the parents have the name.
func (g *merger) hide(fd int, name string, inside diff.Dir) (bool, error) {
	ok, err := hasName(inside, name)
	if err != nil || !ok {
		return false, err
	}
	if err := g.enc.Whiteout(fd, name); err != nil && !errors.Is(err, fs.ErrExist) {
		return false, err
	}
	return true, nil
}

// prepareCopy makes a directory that only the parents have, if a mark below it
// hides anything.
func (g *merger) prepareCopy(dir *openDir, name string, m *mark, inside diff.Dir) (bool, error) {
	if n, ok, err := lookupChild(inside, name); err != nil || !ok || !n.IsDir() {
		return false, err
	}
	if err := sys.Mkdirat(dir.fd, name, 0o700); err != nil {
		return false, err
	}
	hides, err := g.prepare(dir, name, &mark{children: m.children, opaque: m.opaque, implied: true}, inside, false)
	if err == nil && !hides {
		err = sys.Rmdirat(dir.fd, name)
	}
	return hides, err
}
