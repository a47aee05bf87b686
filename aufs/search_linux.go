package aufs

import (
	"errors"
	"io/fs"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/rootfd"
	"github.com/layerkeep/layerkeep/internal/whiteout"
)

// found is the result of looking up a name in a merged directory.
type found struct {
	// place is the branch's directory that provides the name.
	place place
	st    rootfd.Stat
	// dirs are the merged directories, if the name is a directory.
	dirs []place
	// replaced: the lower branches by themselves show no directory at the name, or
	// not the one that merges with this one.
	replaced bool
}

// lookup finds name in the merged directory made of places. The places before
// first are known not to have the name. With topOnly it may stop at the
// uppermost branch that has the name. The error for a missing name matches
// [fs.ErrNotExist].
//
// Of several opaque marks the lowest one counts: the module searches past an
// opaque directory and remembers only the last mark that it saw. In a layer
// that is not sealed yet, a mark hides everything below it, see [stack].
func (v *stack) lookup(places []place, name string, first int, topOnly bool) (*found, error) {
	missing := &fs.PathError{Op: "lookup", Path: name, Err: fs.ErrNotExist}
	if neverShown(name) {
		return nil, missing
	}
	var res *found
	lowest := 0 // number of directories down to the lowest opaque one
	for _, p := range places[first:] {
		hit, err := v.inBranch(p, name)
		if err != nil {
			return nil, err
		}
		if hit.removed {
			break
		}
		if !hit.exists {
			continue
		}
		switch {
		case res == nil:
			res = &found{place: p, st: hit.st}
		case !hit.st.IsDir():
			// The module skips entries whose type differs from that of the first one.
			res.replaced = res.replaced || len(res.dirs) == 1
			continue
		}
		if topOnly || !hit.st.IsDir() {
			break
		}
		res.dirs = append(res.dirs, place{branch: p.branch, at: &rootfd.Way{Up: p.at, Name: name}, parent: p.d})
		if hit.opaque {
			lowest = len(res.dirs)
			if v.unsealed && p.branch == 0 {
				break
			}
		}
	}
	if res == nil {
		return nil, missing
	}
	if lowest > 0 {
		res.dirs = res.dirs[:lowest]
	}
	res.replaced = res.replaced || len(res.dirs) < 2
	return res, nil
}

// hit is what one branch has at a name.
type hit struct {
	removed bool // a whiteout hides the name, also in this branch
	exists  bool
	st      rootfd.Stat
	opaque  bool // a directory that hides those below it
}

func (v *stack) inBranch(p place, name string) (h hit, err error) {
	err = v.with(p, func(d *rootfd.Dir) error {
		if h.removed, err = hasMark(d, whiteout.Name(name)); h.removed || err != nil {
			return err
		}
		h.st, err = d.Lookup(name)
		if isMissing(err) {
			return nil
		}
		if err != nil {
			return err
		}
		h.exists = true
		if !h.st.IsDir() {
			return nil
		}
		child, err := d.OpenDir(name)
		if err != nil {
			return err
		}
		defer child.Close()
		h.opaque, err = hasMark(child, whiteout.OpaqueMarker)
		return err
	})
	return h, err
}

// hasMark reports whether a directory of a branch has a mark.
func hasMark(d *rootfd.Dir, name string) (bool, error) {
	st, err := d.Lookup(name)
	switch {
	case isMissing(err), errors.Is(err, unix.ENAMETOOLONG):
		return false, nil // a name that is too long has no whiteout
	case err != nil:
		return false, err
	}
	return true, checkMark(d, name, st.Type())
}

// checkMark returns an error for a file that has the name of a mark but is not
// a regular file, as au_wh_test in the module's whout.c does. A file of unknown
// type passes.
func checkMark(d *rootfd.Dir, name string, fileType uint32) error {
	if fileType == rootfd.TypeRegular || fileType == 0 {
		return nil
	}
	return &fs.PathError{Op: "whiteout", Path: d.Path() + "/" + name, Err: unix.EIO}
}

// neverShown reports whether no mount shows the name. These are marks and
// bookkeeping, other names that start like a mark and cannot be looked up, and
// names that are too long for a whiteout, which the module does not look up.
func neverShown(name string) bool {
	return strings.HasPrefix(name, whiteout.Prefix) || len(name) > maxName
}
