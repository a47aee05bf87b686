package overlay2

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"github.com/layerkeep/layerkeep/internal/rootfd"
)

// A file is one name in one layer.
type file struct {
	layer int
	dir   place
	name  string
	st    rootfd.Stat
}

// found is the result of looking up a name in a merged directory.
type found struct {
	// top is the file that provides the attributes.
	top file
	// body is the file with the content, if that is not top (metacopy).
	body *file
	// dirs are the merged directories, if the name is a directory.
	dirs []place
	// cut: the directory in the uppermost layer does not merge with the directory
	// of the same name below it. It is opaque or redirected, or there is no
	// directory below.
	cut bool
}

// A search is the state of one lookup through the layers, as struct
// ovl_lookup_data is in the kernel.
type search struct {
	v *stack
	// name is what to look up in the next layer: one component, or an absolute path
	// after an absolute redirect.
	name       string
	isDir      bool
	metacopy   bool
	stop       bool
	redirected bool
	opaque     bool
}

// lookup finds name in the merged directory made of places. The places before
// first are known not to have the name. With topOnly lookup may stop at the
// uppermost layer that has the name. The error for a missing name matches
// [fs.ErrNotExist].
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
		// An absolute redirect continues in the next lower layer, with the roots of all
		// layers as the places. The kernel checks for a redirect only on a hit.
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

// inLayer looks up s.name in one layer: in the directory p, or from the layer's
// root for an absolute name.
func (s *search) inLayer(p place) (*hit, error) {
	if !strings.HasPrefix(s.name, "/") {
		return s.single(p, s.name, 0, "")
	}
	at := place{layer: p.layer, x: p.x}
	// The position is counted from the end, because a redirect on the way changes
	// the beginning.
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

// single looks up one component. before is the length of the part of s.name
// before the component, and after is the part that follows; redirects need
// both. If h is nil, this layer does not have the name, and s.stop says whether
// the search ends.
func (s *search) single(p place, name string, before int, after string) (h *hit, err error) {
	if name == "" || name == "." || name == ".." {
		// Only a redirect can lead here. As in the kernel, it is an error only at
		// lookup.
		return nil, fmt.Errorf("%s in layer %d: a redirect to the name %q: %w", p.child(""), p.layer, name, syscall.EIO)
	}
	err = s.v.with(p, func(d *rootfd.Dir) error {
		st, err := d.Lookup(name)
		if isMissing(err) || errors.Is(err, syscall.ENAMETOOLONG) { // a redirect can be longer than a file name may be
			return nil
		}
		if err != nil {
			return err
		}
		// The mark x only saves a check of every listed file, for the kernel and here.
		// Without the mark, such a file appears in the listing but a lookup does not
		// find it. So a lookup checks regular files always.
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

// minMetacopy is the smallest length, in bytes, of a metacopy mark that is not
// empty: the length of its header. Kernels before 6.6 ignore the value and
// write an empty one.
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

// followRedirect changes the name to look up in the layers below.
func (s *search) followRedirect(d *rootfd.Dir, h *hit, before int, after string) error {
	if !s.v.marks.follows() {
		return nil
	}
	value, ok, err := d.LookupXattr(h.name, s.v.marks.redirect())
	if err != nil || !ok {
		return err
	}
	// The kernel reads the value as a C string, up to its first NUL.
	target, _, _ := strings.Cut(value, "\x00")
	if value == "" || !validRedirect(target) {
		return fmt.Errorf("%s in layer %d: invalid redirect %q: %w", h.dir.child(h.name), h.layer, value, syscall.EIO)
	}
	if strings.HasPrefix(target, "/") {
		// A directory on the way here may have been opaque. That does not apply to the
		// new path.
		s.stop = false
		s.name = target + after
	} else {
		s.name = s.name[:before] + target + after
	}
	s.redirected = true
	return nil
}

// validRedirect accepts one component, or an absolute path without empty
// components.
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
// files says that a regular file with the whiteout mark counts.
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
