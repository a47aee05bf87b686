package overlay2

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"github.com/layerkeep/layerkeep/internal/rootfd"
)

// A file is a name in one layer.
type file struct {
	layer int
	dir   place
	name  string
	st    rootfd.Stat
}

// found is what a name in a merged directory means.
type found struct {
	// top provides the attributes.
	top file
	// body has the content when it is not in top (metacopy).
	body *file
	// dirs are the merged directories, when it is one.
	dirs []place
	// cut: the uppermost layer's directory does not merge with the one of the
	// same name below it: it is opaque, redirected, or there is none.
	cut bool
}

// A search is the state of one lookup across the layers: struct
// ovl_lookup_data.
type search struct {
	v *stack
	// name is what the next layer is asked for: one component, or an absolute
	// path once a redirect said so.
	name       string
	isDir      bool
	metacopy   bool
	stop       bool
	redirected bool
	opaque     bool
}

// lookup finds name in the merged directory made of places, of which the first
// ones are known not to have it. With topOnly it may stop at the uppermost
// provider. A missing name matches [fs.ErrNotExist].
func (v *stack) lookup(places []place, name string, first int, topOnly bool) (*found, error) {
	s := &search{v: v, name: name}
	var res *found
	atRoots := false
	for i := first; i < len(places) && !s.stop; i++ {
		p := places[i]
		hit, err := s.inLayer(p)
		if err != nil {
			return nil, err
		}
		if hit != nil {
			if res == nil {
				res = &found{top: hit.file, cut: s.opaque || s.redirected}
				if topOnly {
					return res, nil
				}
			}
			res.add(hit, s)
		}
		// An absolute redirect restarts at the layer below this one, now among
		// the roots of all layers. The kernel only sees it on what it found.
		if hit != nil && !s.stop && strings.HasPrefix(s.name, "/") && !atRoots {
			atRoots = true
			if places, err = v.roots(); err != nil {
				return nil, err
			}
			i = p.layer
		}
	}
	switch {
	case res == nil:
		return nil, &fs.PathError{Op: "lookup", Path: name, Err: fs.ErrNotExist}
	case res.top.st.IsRegular() && s.metacopy:
		return nil, fmt.Errorf("%s in layer %d: metacopy without a body in any layer: %w", res.top.dir.child(name), res.top.layer, syscall.EIO)
	}
	res.cut = res.cut || len(res.dirs) < 2
	return res, nil
}

func (f *found) add(h *hit, s *search) {
	switch {
	case h.st.IsDir():
		f.dirs = append(f.dirs, h.asDir)
	case f.top.layer != h.layer && !s.metacopy:
		body := h.file
		f.body = &body
	}
}

type hit struct {
	file
	asDir place
}

// inLayer looks for s.name in one layer: in the directory p, or from the
// layer's root for an absolute name.
func (s *search) inLayer(p place) (*hit, error) {
	if !strings.HasPrefix(s.name, "/") {
		return s.single(p, s.name, 0, "")
	}
	at := place{layer: p.layer, x: p.x}
	// Counted from the end, since a redirect on the way changes the beginning.
	for rest := len(s.name) - 1; ; {
		before := len(s.name) - rest
		name, _, more := strings.Cut(s.name[before:], "/")
		after := ""
		if more {
			after = s.name[before+len(name):]
		}
		h, err := s.single(at, name, before, after)
		if err != nil || h == nil || !more {
			return h, err
		}
		at = h.asDir
		rest -= len(name) + 1
	}
}

// single looks up one component. before is how much of s.name precedes it and
// after what follows, for redirects. A nil hit means: not in this layer; s.stop
// then says whether that ends the search.
func (s *search) single(p place, name string, before int, after string) (h *hit, err error) {
	if name == "" || name == "." || name == ".." {
		// A redirect led here. As with the kernel, it is no error before somebody
		// looks.
		return nil, fmt.Errorf("%s in layer %d: a redirect to the name %q: %w", p.child(""), p.layer, name, syscall.EIO)
	}
	err = s.v.with(p, func(d *rootfd.Dir) error {
		st, err := d.Lookup(name)
		if isMissing(err) || errors.Is(err, syscall.ENAMETOOLONG) { // a redirect can be longer than any name
			return nil
		}
		if err != nil {
			return err
		}
		// The mark x only spares the kernel, and us, to look at each file that is
		// listed: without it such a file is listed, and not found.
		hidden, err := s.v.marks.isWhiteout(d, true, name, st)
		if err != nil {
			return err
		}
		last := after == ""
		switch {
		case hidden:
			s.stop, s.opaque = true, true
			return nil
		case last && s.metacopy && !st.IsRegular():
			s.stop = true
			return nil
		case !st.IsDir() && (s.isDir || !last):
			s.stop = true
			return nil
		}
		h = &hit{file: file{layer: p.layer, dir: p, name: name, st: st}}
		if st.IsDir() {
			return s.directory(d, h, last, before, after)
		}
		return s.regular(d, h, before, after)
	})
	if err != nil {
		return nil, err
	}
	return h, nil
}

// minMetacopy is the least length, in bytes, of a metacopy mark that is not
// empty: that of its header. Kernels before 6.6 look at no value and write
// none.
const minMetacopy = 4

func (s *search) regular(d *rootfd.Dir, h *hit, before int, after string) error {
	s.metacopy = false
	if h.st.IsRegular() && s.v.marks.follows() {
		value, ok, err := d.LookupXattr(h.name, s.v.marks.metacopy())
		if err != nil {
			return err
		}
		if ok && len(value) > 0 && len(value) < minMetacopy {
			return fmt.Errorf("%s in layer %d: invalid metacopy %q: %w", h.dir.child(h.name), h.layer, value, syscall.EIO)
		}
		s.metacopy = ok
	}
	if !s.metacopy {
		s.stop = true
		return nil
	}
	return s.followRedirect(d, h, before, after)
}

func (s *search) directory(d *rootfd.Dir, h *hit, last bool, before int, after string) error {
	opaque, _, err := d.LookupXattr(h.name, s.v.marks.opaque())
	if err != nil {
		return err
	}
	h.asDir = place{layer: h.layer, at: &rootfd.Way{Up: h.dir.at, Name: h.name}, x: opaque == opaqueX, parent: h.dir.d}
	if last {
		s.isDir = true
	}
	if opaque == opaqueY {
		s.stop = true
		s.opaque = s.opaque || last
		return nil
	}
	return s.followRedirect(d, h, before, after)
}

// followRedirect changes the name that the layers below are asked for.
func (s *search) followRedirect(d *rootfd.Dir, h *hit, before int, after string) error {
	if !s.v.marks.follows() {
		return nil
	}
	value, ok, err := d.LookupXattr(h.name, s.v.marks.redirect())
	if err != nil || !ok {
		return err
	}
	// The kernel reads the value up to its first NUL, as text of C.
	target, _, _ := strings.Cut(value, "\x00")
	if value == "" || !validRedirect(target) {
		return fmt.Errorf("%s in layer %d: invalid redirect %q: %w", h.dir.child(h.name), h.layer, value, syscall.EIO)
	}
	if strings.HasPrefix(target, "/") {
		// A part of the way here may have been opaque; that says nothing about
		// the new path.
		s.stop = false
		s.name = target + after
	} else {
		s.name = s.name[:before] + target + after
	}
	s.redirected = true
	return nil
}

// validRedirect accepts one component, or an absolute path without empty ones.
func validRedirect(target string) bool {
	if !strings.HasPrefix(target, "/") {
		return !strings.Contains(target, "/")
	}
	for part := range strings.SplitSeq(target[1:], "/") {
		if part == "" {
			return false
		}
	}
	return true
}

// isWhiteout reports whether the child hides its name in the layers below.
// files: it can be a regular file that is marked as one.
func (m marks) isWhiteout(d *rootfd.Dir, files bool, name string, st rootfd.Stat) (bool, error) {
	if st.Type() == rootfd.TypeChar {
		return st.Rdev == 0, nil
	}
	if !files || !st.IsRegular() || st.Size != 0 {
		return false, nil
	}
	_, ok, err := d.LookupXattr(name, m.whiteout())
	return ok, err
}
