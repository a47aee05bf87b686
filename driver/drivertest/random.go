package drivertest

import (
	"errors"
	"path"
	"slices"
	"strings"
	"time"

	"pgregory.net/rapid"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/driver/drivertest/model"
	"github.com/layerkeep/layerkeep/internal/fstest"
)

// Values from which random layers and edits are drawn. They are few, so that
// names meet, and attributes are often the same.
var (
	randomNames   = []string{"a", "b", "c", "d"}
	randomTargets = []string{"a", "b", "/a", "/b/c", "../a", "../../b", "c", "/d", "nowhere", "d/a"}
	randomBodies  = []string{"", "x", "y", "xx", strings.Repeat("long ", 2000)}
	randomPerms   = []uint32{0o644, 0o755, 0o600, 0o4755, 0o1777, 0o000}
	randomIDs     = []uint32{0, 0, 0, 1, 1<<32 - 2}
	randomTimes   = []time.Time{time.Unix(0, 0), time.Unix(1, 1), time.Unix(1, 2), time.Unix(1_700_000_000, 999_999_999), time.Unix(-7, 5)}
	randomXattrs  = []string{"user.a", "user.b", "trusted.a", "trusted.overlay.redirect", "user.overlay.opaque", "security.capability"}
	randomDevices = []uint64{0x103, 0x105}
)

// random draws layers and edits; can says what the backends take.
type random struct {
	*rapid.T
	renameDirs bool
	// avoidLinks leaves out writing to one of several names of a parents' file:
	// that breaks the link on some of the backends.
	avoidLinks bool
	// breaksLinks: it does so on all of them.
	breaksLinks bool
	// refused are the prefixes of attributes that one of the backends refuses.
	refused []string
	// plainEdits: some of the backends cannot keep all times and attributes that
	// edits set, so that stacks that are edited have plain ones.
	plainEdits bool
	// plain: this stack has times of whole seconds, attributes that have values,
	// and removes none.
	plain bool
}

func pick[T any](r random, what string, values []T) T {
	return rapid.SampledFrom(values).Draw(r.T, what)
}

// chance is true once in n times.
func (r random) chance(n int, what string) bool {
	return rapid.IntRange(0, n-1).Draw(r.T, what) == n-1
}

// path draws a path, half of the time one that exists.
func (r random) path(tree *model.Tree) string {
	if files := tree.Files(); len(files) > 1 && rapid.Bool().Draw(r.T, "existing") {
		return pick(r, "path", files[1:]).Path
	}
	depth := rapid.IntRange(1, 3).Draw(r.T, "depth")
	var comps []string
	for range depth {
		comps = append(comps, pick(r, "name", randomNames))
	}
	return path.Join(comps...)
}

// linkTarget draws a path, mostly of a file that exists.
func (r random) linkTarget(tree *model.Tree) string {
	var paths []string
	for _, f := range tree.Files() {
		if f.Mode&diff.TypeMask != diff.TypeDir {
			paths = append(paths, f.Path)
		}
	}
	if len(paths) == 0 || r.chance(10, "link to anything") {
		return r.path(tree)
	}
	return pick(r, "link target", paths)
}

// layer draws a layer for a tree. One in some is invalid.
func (r random) layer(tree *model.Tree) []fstest.Entry {
	var entries []fstest.Entry
	now := tree.Clone()
	for range rapid.IntRange(0, 14).Draw(r.T, "entries") {
		e := r.entry(now)
		with := append(entries[:len(entries):len(entries)], e)
		next := tree.Clone()
		err := next.Apply(with)
		switch {
		case err == nil:
			now, entries = next, with
		case errors.Is(err, model.ErrUnspecified):
		case r.chance(10, "invalid"):
			return with
		}
	}
	return entries
}

func (r random) entry(tree *model.Tree) fstest.Entry {
	p := r.path(tree)
	var e fstest.Entry
	switch rapid.IntRange(0, 16).Draw(r.T, "kind") {
	case 0, 1, 2:
		e = fstest.Dir(p)
	case 3, 4, 5:
		e = fstest.File(p, pick(r, "body", randomBodies))
	case 6, 7:
		e = fstest.Symlink(p, pick(r, "target", randomTargets))
	case 8, 9, 16:
		return fstest.Link(p, r.linkTarget(tree))
	case 10:
		e = fstest.Fifo(p)
	case 11:
		e = fstest.Char(p, 1, int64(rapid.IntRange(3, 4).Draw(r.T, "minor")))
	case 12:
		if r.chance(3, "device as whiteout") {
			return fstest.Char(p, 0, 0)
		}
		return fstest.Whiteout(p)
	case 13:
		return fstest.Whiteout(p)
	case 14:
		if r.chance(4, "root") {
			return fstest.Opaque("")
		}
		return fstest.Opaque(p)
	default:
		e = fstest.Dir(".")
		if !r.chance(3, "root entry") {
			e = fstest.Dir(p)
		}
	}
	e = e.WithMode(int64(pick(r, "perm", randomPerms))).WithOwner(int(pick(r, "uid", randomIDs)), int(pick(r, "gid", randomIDs)))
	e.Mtime = r.anyTime()
	if r.chance(3, "xattr") {
		name := pick(r, "xattr name", randomXattrs)
		if value, ok := r.xattr(name, e.Header().FileInfo().Mode().IsRegular(), e.Header().FileInfo().IsDir()); ok {
			e = e.WithXattr(name, value)
		}
	}
	return e
}

// anyTime draws a modification time.
func (r random) anyTime() time.Time {
	t := pick(r, "mtime", randomTimes)
	if r.plain {
		t = time.Unix(t.Unix(), 0)
	}
	return t
}

// xattr draws a value that a file may have under a name.
func (r random) xattr(name string, regular, dir bool) (string, bool) {
	values := []string{"", "y", "/a"}
	if r.plain {
		values = values[1:]
	}
	switch {
	case slices.ContainsFunc(r.refused, func(p string) bool { return strings.HasPrefix(name, p) }):
		return "", false
	case name == "security.capability":
		return capability, regular
	case strings.HasPrefix(name, "user."):
		return pick(r, "xattr value", values), regular || dir
	default:
		return pick(r, "xattr value", values), true
	}
}

// commonRandom says what all backends take.
func commonRandom(props []driver.Properties) random {
	r := random{renameDirs: true, breaksLinks: true}
	for _, p := range props {
		r.renameDirs = r.renameDirs && p.RenameDir
		r.avoidLinks = r.avoidLinks || p.BreaksHardlinks
		r.breaksLinks = r.breaksLinks && p.BreaksHardlinks
		if p.RefusedXattr != "" {
			r.refused = append(r.refused, p.RefusedXattr)
		}
		r.plainEdits = r.plainEdits || p.MountTimes != 0 || p.KeepsXattrs
	}
	r.avoidLinks = r.avoidLinks && !r.breaksLinks
	return r
}
