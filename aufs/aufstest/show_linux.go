package aufstest

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Names of the module's own files.
const (
	prefix     = ".wh."
	opaqueMark = ".wh..wh..opq"
	baseFile   = ".wh..wh.aufs"
	orphanDir  = ".wh..wh.orph"
	linkDir    = ".wh..wh.plnk"
)

// maxName is AUFS_MAX_NAMELEN: room for the prefix twice and a temporary
// suffix.
const maxName = 242

// A hit is what a branch has at a path.
type hit struct {
	path string // on disk
	st   unix.Stat_t
}

func (h hit) isDir() bool { return h.st.Mode&unix.S_IFMT == unix.S_IFDIR }

func lstat(path string) (hit, bool, error) {
	h := hit{path: path}
	err := unix.Lstat(path, &h.st)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENAMETOOLONG):
		return h, false, nil
	case err != nil:
		return h, false, &fs.PathError{Op: "lstat", Path: path, Err: err}
	}
	return h, true, nil
}

// marked reports whether a mark is there. What has its name and is no file is
// an error, as for the module.
func marked(dir, name string) (bool, error) {
	h, ok, err := lstat(filepath.Join(dir, name))
	if err == nil && ok && h.st.Mode&unix.S_IFMT != unix.S_IFREG {
		err = &fs.PathError{Op: "lookup", Path: h.path, Err: unix.EIO}
	}
	return ok, err
}

// child looks a name up in a merged directory, given as the directories of the
// branches, uppermost first. It returns what is merged under the name: one hit,
// or several directories. None means that there is nothing.
//
// It follows au_lkup_dentry in the module's dentry.c: a whiteout ends the
// search before its own branch's file, and what is of another type is passed
// over. An opaque directory does not end the search. The module remembers the
// last one that it met, and merges nothing below that.
func child(dirs []string, name string) (hits []hit, err error) {
	if len(name) > maxName {
		return nil, nil
	}
	opaque := 0 // down to the last opaque directory
	defer func() {
		if opaque > 0 {
			hits = hits[:opaque]
		}
	}()
	for _, dir := range dirs {
		gone, err := marked(dir, prefix+name)
		if gone || err != nil {
			return hits, err
		}
		h, ok, err := lstat(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		if !ok || len(hits) > 0 && !h.isDir() {
			continue
		}
		hits = append(hits, h)
		if !h.isDir() {
			return hits, nil
		}
		mark, err := marked(h.path, opaqueMark)
		if err != nil {
			return nil, err
		}
		if mark {
			opaque = len(hits)
		}
	}
	return hits, nil
}

func paths(hits []hit) []string {
	var dirs []string
	for _, h := range hits {
		dirs = append(dirs, h.path)
	}
	return dirs
}

// A finder looks a name up in a merged directory, as child.
type finder func(dirs []string, name string) ([]hit, error)

// names lists a merged directory.
func names(dirs []string, find finder) ([]string, error) {
	seen := map[string]bool{}
	var all []string
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if seen[e.Name()] || strings.HasPrefix(e.Name(), prefix) {
				continue
			}
			seen[e.Name()] = true
			hits, err := find(dirs, e.Name())
			if err != nil {
				return nil, err
			}
			if len(hits) > 0 {
				all = append(all, e.Name())
			}
		}
	}
	return all, nil
}

// Show makes in the new directory dst the tree that a mount of the branches
// shows, uppermost first: directories anew, and all else as hard links of the
// branches' files. It is the oracle for whatever reads branches.
func Show(dst string, branches ...string) error { return show(dst, branches, child, link) }

// ShowLive is Show for a mount in which the opaque marks of the first branch
// were made, and hide everything below: the tree that a layer is meant to hold
// before it got whiteouts for what would reappear in the next mount.
func ShowLive(dst string, branches ...string) error {
	e := New(branches[0], branches[1:]).Live()
	return show(dst, branches, func(dirs []string, name string) ([]hit, error) {
		hits := make([]hit, len(dirs))
		for i, d := range dirs {
			hits[i].path = d
		}
		return e.child(hits, name)
	}, link)
}

func link(from hit, to string) error {
	if err := unix.Linkat(unix.AT_FDCWD, from.path, unix.AT_FDCWD, to, 0); err != nil {
		return &os.LinkError{Op: "link", Old: from.path, New: to, Err: err}
	}
	return nil
}

// Copy is Show with copies of the files; those that are hard links of each
// other stay it.
func Copy(dst string, branches ...string) error {
	copies := map[inode]string{}
	return show(dst, branches, child, func(from hit, to string) error {
		if first := copies[inodeOf(from)]; first != "" {
			return unix.Link(first, to)
		}
		copies[inodeOf(from)] = to
		return copyNode(from, to, anyValue)
	})
}

func show(dst string, dirs []string, find finder, file func(from hit, to string) error) error {
	if err := os.Mkdir(dst, 0o700); err != nil {
		return err
	}
	list, err := names(dirs, find)
	if err != nil {
		return err
	}
	for _, name := range list {
		hits, err := find(dirs, name)
		if err != nil {
			return err
		}
		to := filepath.Join(dst, name)
		if hits[0].isDir() {
			err = show(to, paths(hits), find, file)
		} else {
			err = file(hits[0], to)
		}
		if err != nil {
			return err
		}
	}
	return copyAttributes(dirs[0], dst, anyValue)
}
