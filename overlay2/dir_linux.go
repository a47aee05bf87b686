package overlay2

import (
	"errors"
	"io"
	"io/fs"
	"slices"
	"syscall"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/internal/rootfd"
)

// knowledge says what is known about the changes in a directory of a stack.
type knowledge uint8

const (
	// unknown: everything here and below has to be compared.
	unknown knowledge = iota
	// merged: the uppermost layer has the directory, and it merges with the same
	// directory below. So only names that the uppermost layer has in it can have
	// changed.
	merged
	// untouched: the uppermost layer does not have the directory.
	untouched
)

// dir is one merged directory. It is a [diff.Dir] and a [diff.Hinter].
type dir struct {
	v      *stack
	places []place
	known  knowledge
	// first maps each name to the index of its uppermost place. Names fills it, so
	// that a lookup in hundreds of layers need not start at the top.
	first map[string]int
}

// hidden is the value in dir.first for names that a whiteout hides.
const hidden = -1

// lookup finds a child.
func (d *dir) lookup(name string, topOnly bool) (*found, error) {
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

// open makes a dir of places. The dir owns places from then on.
func (v *stack) open(places []place, known knowledge) (*dir, error) {
	d := &dir{v: v, places: places, known: known}
	if len(places) >= v.many {
		for i := range places {
			places[i].parent = nil // the parent's descriptor will be closed
		}
		return d, nil
	}
	for i := range places {
		p := &places[i]
		opened, err := p.openIn(v.layers[p.layer])
		if err != nil {
			return nil, errors.Join(err, d.Close())
		}
		p.d = opened
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
	d.places = nil
	return errors.Join(errs...)
}

func (d *dir) top(fn func(top *rootfd.Dir) error) error {
	if len(d.places) == 0 {
		return fs.ErrClosed
	}
	return d.v.with(d.places[0], fn)
}

// Stat returns the attributes of the uppermost of the merged directories.
func (d *dir) Stat() (n diff.Node, err error) {
	err = d.top(func(top *rootfd.Dir) error {
		st, err := top.Stat()
		n = diff.NodeOf(st)
		return err
	})
	if err != nil {
		return diff.Node{}, err
	}
	return d.v.node(d.places[0], "", n)
}

// Xattrs returns the extended attributes of the uppermost of the merged
// directories.
func (d *dir) Xattrs() (attrs map[string]string, err error) {
	err = d.top(func(top *rootfd.Dir) error {
		attrs, err = top.Xattrs()
		return err
	})
	if err != nil {
		return nil, err
	}
	return d.v.attrs(d.places[0], "", attrs)
}

// Names lists the names in the merged directories, without names that a
// whiteout hides.
func (d *dir) Names() ([]string, error) {
	if len(d.places) == 0 {
		return nil, fs.ErrClosed
	}
	first := map[string]int{}
	for i, p := range d.places {
		err := d.v.with(p, func(layer *rootfd.Dir) error { return d.v.list(layer, i, p.x, first) })
		if err != nil {
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
	if len(d.places) >= d.v.many {
		d.first = first
	}
	return names, nil
}

// list adds the names in layer, which is the place with the index at, that no
// place above it has.
func (v *stack) list(layer *rootfd.Dir, at int, x bool, first map[string]int) error {
	entries, err := layer.Entries()
	if err != nil {
		return err
	}
	for _, e := range entries {
		if _, ok := first[e.Name]; ok {
			continue
		}
		first[e.Name] = at
		if e.Type != 0 && e.Type != rootfd.TypeChar && !(x && e.Type == rootfd.TypeRegular) {
			continue
		}
		st, err := layer.Lookup(e.Name)
		if err != nil {
			return err
		}
		gone, err := v.marks.isWhiteout(layer, x, e.Name, st)
		if err != nil {
			return err
		}
		if gone {
			first[e.Name] = hidden
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
	return d.v.node(f.top.dir, name, diff.NodeOf(f.top.st))
}

// LookupXattrs returns the extended attributes of a child.
func (d *dir) LookupXattrs(name string) (attrs map[string]string, err error) {
	f, err := d.lookup(name, true)
	if err != nil {
		return nil, err
	}
	err = d.v.with(f.top.dir, func(layer *rootfd.Dir) error {
		attrs, err = layer.LookupXattrs(f.top.name)
		return err
	})
	if err != nil {
		return nil, err
	}
	return d.v.attrs(f.top.dir, name, attrs)
}

// Readlink returns the target of a symbolic link.
func (d *dir) Readlink(name string) (target string, err error) {
	f, err := d.lookup(name, true)
	if err != nil {
		return "", err
	}
	err = d.v.with(f.top.dir, func(layer *rootfd.Dir) error {
		target, err = layer.Readlink(f.top.name)
		return err
	})
	return target, err
}

// Open opens the content of a regular file. The content can be in a lower layer
// than the attributes.
func (d *dir) Open(name string) (rc io.ReadCloser, err error) {
	f, err := d.lookup(name, false)
	if err != nil {
		return nil, err
	}
	from := f.top
	if f.body != nil {
		from = *f.body
	}
	err = d.v.with(from.dir, func(layer *rootfd.Dir) error {
		opened, err := layer.Open(from.name)
		if err == nil {
			rc = opened
		}
		return err
	})
	return rc, err
}

// SameBody reports whether the content of a regular file is the same file of
// the same layer here and in old. Then only its attributes were copied up, or a
// directory above it was moved and moved back.
func (d *dir) SameBody(name string, old diff.Dir) (bool, error) {
	before, ok := old.(*dir)
	if !ok {
		return false, nil
	}
	o, err := before.lookup(name, false)
	if err != nil {
		return false, err
	}
	n, err := d.lookup(name, false)
	if err != nil {
		return false, err
	}
	a, b := o.content(), n.content()
	return a.IsRegular() && a.Dev == b.Dev && a.Ino == b.Ino, nil
}

// content returns the file that has the content.
func (f *found) content() rootfd.Stat {
	if f.body != nil {
		return f.body.st
	}
	return f.top.st
}

// OpenDir opens a child directory.
func (d *dir) OpenDir(name string) (diff.Dir, error) {
	f, err := d.lookup(name, false)
	if err != nil {
		return nil, err
	}
	if len(f.dirs) == 0 {
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.ENOTDIR}
	}
	return d.v.open(f.dirs, d.knowledgeOf(f))
}

func (d *dir) knowledgeOf(f *found) knowledge {
	switch {
	case d.known != merged:
		return d.known
	case f.top.layer != 0:
		return untouched
	case f.cut:
		return unknown
	}
	return merged
}

// Hints returns the names that the uppermost layer has in this directory.
func (d *dir) Hints() ([]diff.Hint, bool, error) {
	switch d.known {
	case untouched:
		return nil, true, nil
	case unknown:
		return nil, false, nil
	case merged:
	}
	var hints []diff.Hint
	err := d.top(func(top *rootfd.Dir) error {
		names, err := top.Names()
		hints = make([]diff.Hint, 0, len(names))
		for _, name := range names {
			hints = append(hints, diff.Hint{Name: name})
		}
		return err
	})
	return hints, err == nil, err
}
