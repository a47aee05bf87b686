package aufs

import (
	"errors"
	"io"
	"io/fs"
	"slices"
	"syscall"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/internal/rootfd"
	"github.com/layerkeep/layerkeep/internal/whiteout"
)

// dir is one merged directory. It is a [diff.Dir] and a [diff.Hinter].
type dir struct {
	v      *stack
	places []place
	taken  int // descriptors taken from the budget
	known  knowledge
	// first maps each name to the index of its uppermost place. Names fills it, so
	// that a lookup in a hundred branches need not start at the top.
	first map[string]int
}

// hidden is the value in dir.first for names that a whiteout hides.
const hidden = -1

// manyPlaces is a number of merged directories. From this number on, Names
// stores the listing in dir.first.
const manyPlaces = 8

// open makes a dir of places. The dir owns places from then on.
func (v *stack) open(places []place, known knowledge) (*dir, error) {
	d := &dir{v: v, places: places, known: known}
	if !v.held.take(len(places)) {
		for i := range places {
			places[i].parent = nil // the parent's descriptor will be closed
		}
		return d, nil
	}
	d.taken = len(places)
	for i := range places {
		p := &places[i]
		var err error
		if p.parent != nil {
			p.d, err = p.parent.OpenDir(p.at.Name)
		} else {
			p.d, err = v.branches[p.branch].root.OpenDirAt(p.at.String())
		}
		p.parent = nil
		if err != nil {
			return nil, errors.Join(err, d.Close())
		}
	}
	return d, nil
}

// Close closes the directory.
func (d *dir) Close() error {
	var errs []error
	for i := range d.places {
		if p := &d.places[i]; p.d != nil {
			errs = append(errs, p.d.Close())
			p.d = nil
		}
	}
	d.v.held.give(d.taken)
	d.places, d.taken = nil, 0
	return errors.Join(errs...)
}

func (d *dir) top(fn func(top *rootfd.Dir) error) error {
	if len(d.places) == 0 {
		return fs.ErrClosed
	}
	return d.v.with(d.places[0], fn)
}

// lookup finds a child.
func (d *dir) lookup(name string, topOnly bool) (*found, error) {
	if len(d.places) == 0 {
		return nil, fs.ErrClosed
	}
	first := 0
	if d.first != nil {
		at, ok := d.first[name]
		if !ok || at == hidden {
			return nil, &fs.PathError{Op: "lookup", Path: name, Err: fs.ErrNotExist}
		}
		first = at
	}
	return d.v.lookup(d.places, name, first, topOnly)
}

// Stat returns the attributes of the uppermost of the merged directories.
func (d *dir) Stat() (n diff.Node, err error) {
	err = d.top(func(top *rootfd.Dir) error {
		st, err := top.Stat()
		n = diff.NodeOf(st)
		return err
	})
	if err == nil {
		n.Mtime, err = d.v.mtime(d.places, n.Mtime)
	}
	return n, err
}

// Xattrs returns the extended attributes of the uppermost of the merged
// directories.
func (d *dir) Xattrs() (attrs map[string]string, err error) {
	err = d.top(func(top *rootfd.Dir) error {
		attrs, err = top.Xattrs()
		return err
	})
	return whiteout.AUFS.Shown(attrs), err
}

// Names lists the names in the merged directories, without names that a
// whiteout hides.
func (d *dir) Names() ([]string, error) {
	if len(d.places) == 0 {
		return nil, fs.ErrClosed
	}
	first := map[string]int{}
	for i, p := range d.places {
		if err := d.v.with(p, func(b *rootfd.Dir) error { return list(b, i, first) }); err != nil {
			return nil, err
		}
	}
	names := make([]string, 0, len(first))
	for name, at := range first {
		if at != hidden {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	if len(d.places) >= manyPlaces {
		d.first = first
	}
	return names, nil
}

// list adds the names in b, which is the place with the index at, that no place
// above it has. It reads the whiteouts first, because a whiteout also hides a
// file of its own branch.
func list(b *rootfd.Dir, at int, first map[string]int) error {
	entries, err := b.Entries()
	if err != nil {
		return err
	}
	for _, e := range entries {
		kind, target, err := whiteout.Parse(e.Name)
		if err != nil || kind != whiteout.Whiteout {
			continue
		}
		if err := checkMark(b, e.Name, e.Type); err != nil {
			return err
		}
		if _, ok := first[target]; !ok {
			first[target] = hidden
		}
	}
	for _, e := range entries {
		if _, ok := first[e.Name]; !ok && !neverShown(e.Name) {
			first[e.Name] = at
		}
	}
	return nil
}

// Lookup returns the attributes of a child.
func (d *dir) Lookup(name string) (diff.Node, error) {
	f, err := d.lookup(name, true)
	if err != nil {
		return diff.Node{}, err
	}
	n := diff.NodeOf(f.st)
	if d.v.unsealed && f.place.branch == 0 && f.st.IsDir() {
		if f, err = d.lookup(name, false); err != nil {
			return n, err
		}
		if n.Mtime, err = d.v.mtime(f.dirs, n.Mtime); err != nil {
			return n, err
		}
	}
	n.Nlink, err = d.v.branches[f.place.branch].nlink(f.place.at.Child(name), f.st)
	return n, err
}

// in finds a child and calls fn with the branch's directory that has it.
func (d *dir) in(name string, fn func(b *rootfd.Dir) error) error {
	f, err := d.lookup(name, true)
	if err != nil {
		return err
	}
	return d.v.with(f.place, fn)
}

// LookupXattrs returns the extended attributes of a child.
func (d *dir) LookupXattrs(name string) (attrs map[string]string, err error) {
	err = d.in(name, func(b *rootfd.Dir) error {
		attrs, err = b.LookupXattrs(name)
		return err
	})
	return whiteout.AUFS.Shown(attrs), err
}

// Readlink returns the target of a symbolic link.
func (d *dir) Readlink(name string) (target string, err error) {
	err = d.in(name, func(b *rootfd.Dir) error {
		target, err = b.Readlink(name)
		return err
	})
	return target, err
}

// Open opens the content of a regular file.
func (d *dir) Open(name string) (rc io.ReadCloser, err error) {
	err = d.in(name, func(b *rootfd.Dir) error {
		opened, err := b.Open(name)
		if err == nil {
			rc = opened
		}
		return err
	})
	return rc, err
}

// OpenDir opens a child directory.
func (d *dir) OpenDir(name string) (diff.Dir, error) {
	f, err := d.lookup(name, false)
	if err != nil {
		return nil, err
	}
	if !f.st.IsDir() {
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.ENOTDIR}
	}
	next, err := d.v.open(f.dirs, d.knowledgeOf(f))
	if err != nil {
		return nil, err
	}
	return next, nil
}
