package drivertest

import (
	"errors"
	"path"
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
	e.Mtime = pick(r, "mtime", randomTimes)
	if r.chance(3, "xattr") {
		name := pick(r, "xattr name", randomXattrs)
		if value, ok := r.xattr(name, e.Header().FileInfo().Mode().IsRegular(), e.Header().FileInfo().IsDir()); ok {
			e = e.WithXattr(name, value)
		}
	}
	return e
}

// xattr draws a value that a file may have under a name.
func (r random) xattr(name string, regular, dir bool) (string, bool) {
	switch {
	case name == "security.capability":
		return "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", regular
	case strings.HasPrefix(name, "user."):
		return pick(r, "xattr value", []string{"", "y", "/a"}), regular || dir
	default:
		return pick(r, "xattr value", []string{"", "y", "/a"}), true
	}
}

// edits draws edits of a mounted tree and makes them in the model.
func (r random) edits(tree *model.Tree) []fstest.Edit {
	shared := map[any]bool{}
	for _, f := range tree.Files() {
		shared[f.ID] = r.avoidLinks && f.Names > 1
	}
	var edits []fstest.Edit
	for range rapid.IntRange(0, 10).Draw(r.T, "edits") {
		e, ok := r.edit(tree, shared)
		if !ok {
			continue
		}
		next := tree.Clone()
		if next.Edit(e) != nil {
			continue
		}
		if err := tree.Edit(e); err != nil {
			r.Fatalf("the model edits a copy and not the tree: %v", err)
		}
		edits = append(edits, e)
	}
	return edits
}

// edit draws one edit; ok is false when it is none that every kernel file system
// answers alike.
func (r random) edit(tree *model.Tree, shared map[any]bool) (e fstest.Edit, ok bool) {
	files := tree.Files()
	f := pick(r, "file", files)
	e = fstest.Edit{
		Path: f.Path, Mode: pick(r, "perm", randomPerms), UID: pick(r, "uid", randomIDs), GID: pick(r, "gid", randomIDs),
		Mtime: pick(r, "mtime", randomTimes), TouchParents: rapid.Bool().Draw(r.T, "touch parents"),
		Body: pick(r, "body", randomBodies),
	}
	if rapid.Bool().Draw(r.T, "make") {
		return r.makeEdit(tree, e, shared)
	}
	breaks := f.Names > 1 && shared[f.ID]
	e.Op = pick(r, "op", []fstest.Op{
		fstest.OpWrite, fstest.OpAppend, fstest.OpChmod, fstest.OpChown, fstest.OpTouch, fstest.OpSetXattr, fstest.OpRemoveXattr,
		fstest.OpRemove, fstest.OpRename, fstest.OpCopyUp,
	})
	switch e.Op {
	case fstest.OpRemove:
		return e, f.Path != "."
	case fstest.OpRename:
		e.To = r.path(tree)
		return e, f.Path != "." && !breaks && r.mayRename(tree, f, e.To)
	case fstest.OpWrite, fstest.OpAppend:
		return e, !breaks && f.Mode&diff.TypeMask == diff.TypeRegular
	case fstest.OpChmod:
		return e, !breaks && f.Mode&diff.TypeMask != diff.TypeSymlink
	case fstest.OpSetXattr:
		e.Name = pick(r, "xattr name", randomXattrs)
		e.Body, ok = r.xattr(e.Name, f.Mode&diff.TypeMask == diff.TypeRegular, f.Mode&diff.TypeMask == diff.TypeDir)
		return e, ok && !breaks && !strings.Contains(e.Name, ".overlay.")
	case fstest.OpRemoveXattr:
		for name := range f.Xattrs {
			if e.Name < name {
				e.Name = name
			}
		}
		return e, !breaks && e.Name != "" && !strings.Contains(e.Name, ".overlay.")
	default:
		return e, !breaks
	}
}

// mayRename leaves out what rename(2) refuses, and directories where that needs
// a property.
func (r random) mayRename(tree *model.Tree, f model.File, to string) bool {
	if strings.HasPrefix(to+"/", f.Path+"/") {
		return false
	}
	return f.Mode&diff.TypeMask != diff.TypeDir || r.renameDirs
}

// makeEdit draws an edit that makes a name.
func (r random) makeEdit(tree *model.Tree, e fstest.Edit, shared map[any]bool) (fstest.Edit, bool) {
	e.Path = r.path(tree)
	e.Op = pick(r, "op", []fstest.Op{
		fstest.OpCreate, fstest.OpMkdir, fstest.OpSymlink, fstest.OpLink, fstest.OpMknod,
	})
	switch e.Op {
	case fstest.OpSymlink:
		e.To = pick(r, "target", randomTargets)
	case fstest.OpMknod:
		e.Mode |= diff.TypeChar
		e.Rdev = pick(r, "device", randomDevices)
	case fstest.OpLink:
		e.To = r.linkTarget(tree)
		for _, target := range tree.Files() {
			if target.Path == e.To {
				return e, target.Mode&diff.TypeMask != diff.TypeDir && (target.Names < 2 || !shared[target.ID])
			}
		}
		return e, false
	}
	return e, true
}

// commonRandom says what all backends take.
func commonRandom(props []driver.Properties) random {
	r := random{renameDirs: true, breaksLinks: true}
	for _, p := range props {
		r.renameDirs = r.renameDirs && p.RenameDir
		r.avoidLinks = r.avoidLinks || p.BreaksHardlinks
		r.breaksLinks = r.breaksLinks && p.BreaksHardlinks
	}
	r.avoidLinks = r.avoidLinks && !r.breaksLinks
	return r
}
