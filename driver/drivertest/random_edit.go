package drivertest

import (
	"path"
	"strings"
	"time"

	"pgregory.net/rapid"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/driver/drivertest/model"
	"github.com/layerkeep/layerkeep/internal/fstest"
)

// Sizes of random truncations and holes: around a block, and beyond what random
// files hold.
var (
	randomSizes   = []int64{0, 1, 4096, 5000, 8192, 12_000}
	randomOffsets = []int64{0, 4096, 8192}
)

// edits draws edits of a mounted tree and makes them in the model.
func (r random) edits(tree *model.Tree) []fstest.Edit {
	shared := map[any]bool{}
	for _, f := range tree.Files() {
		shared[f.ID] = r.avoidLinks && f.Names > 1
	}
	var edits []fstest.Edit
	add := func(e fstest.Edit) bool {
		next := tree.Clone()
		if next.Edit(e) != nil {
			return false
		}
		if err := tree.Edit(e); err != nil {
			r.Fatalf("the model edits a copy and not the tree: %v", err)
		}
		edits = append(edits, e)
		return true
	}
	for range rapid.IntRange(0, 10).Draw(r.T, "edits") {
		before := tree.Snapshot()
		e, ok := r.edit(tree, shared)
		if !ok || !add(e) {
			continue
		}
		if e.Op == fstest.OpRemove && r.chance(2, "make again") {
			if e, ok := r.again(e, before[e.Path]); ok {
				add(e)
			}
		}
	}
	return edits
}

// again makes what was removed once more under its name, the same or with
// another body of the same attributes.
func (r random) again(removed fstest.Edit, n fstest.Node) (fstest.Edit, bool) {
	e := fstest.Edit{
		Path: removed.Path, Mode: n.Perm(), UID: n.UID, GID: n.GID, Mtime: n.Mtime, TouchParents: removed.TouchParents, To: n.Target, Rdev: n.Rdev,
	}
	switch n.Type() {
	case diff.TypeRegular:
		e.Op = fstest.OpCreate
		e.Body = pick(r, "body", randomBodies)
		for _, b := range randomBodies {
			if fstest.Body(b) == n.Body && r.chance(2, "same body") {
				e.Body = b
			}
		}
	case diff.TypeDir:
		e.Op = fstest.OpMkdir
	case diff.TypeSymlink:
		e.Op = fstest.OpSymlink
	case diff.TypeChar, diff.TypeFifo:
		e.Op, e.Mode = fstest.OpMknod, n.Mode
	default:
		return e, false
	}
	return e, true
}

// edit draws one edit; ok is false when it is none that every kernel file
// system answers alike.
func (r random) edit(tree *model.Tree, shared map[any]bool) (e fstest.Edit, ok bool) {
	files := tree.Files()
	f := pick(r, "file", files)
	e = fstest.Edit{
		Path: f.Path, Mode: pick(r, "perm", randomPerms), UID: pick(r, "uid", randomIDs), GID: pick(r, "gid", randomIDs),
		Mtime: r.time(tree, f.Path), TouchParents: rapid.Bool().Draw(r.T, "touch parents"), Body: pick(r, "body", randomBodies),
		Size: pick(r, "size", randomSizes), Offset: pick(r, "offset", randomOffsets),
	}
	breaks := f.Names > 1 && shared[f.ID]
	switch rapid.IntRange(0, 5).Draw(r.T, "what") {
	case 0, 1, 2:
		return r.makeEdit(tree, e, shared)
	case 3:
		return r.moveEdit(tree, e, f, shared)
	case 4:
		return r.contentEdit(tree, e, f, breaks)
	default:
		return r.attributeEdit(e, f, breaks)
	}
}

// time draws a modification time; often the one that the path has already.
func (r random) time(tree *model.Tree, path string) time.Time {
	if r.chance(3, "same time") {
		return tree.Mtime(path)
	}
	return r.anyTime()
}

// moveEdit draws an edit that takes names away or moves them.
func (r random) moveEdit(tree *model.Tree, e fstest.Edit, f model.File, shared map[any]bool) (fstest.Edit, bool) {
	e.Op = pick(r, "op", []fstest.Op{fstest.OpRemove, fstest.OpRename, fstest.OpExchange})
	if e.Op == fstest.OpRemove {
		return e, f.Path != "."
	}
	e.To = r.path(tree)
	if f.Names > 1 && shared[f.ID] {
		return e, false
	}
	if e.Op == fstest.OpRename {
		return e, f.Path != "." && r.mayRename(f, e.To)
	}
	if r.plainEdits && path.Dir(e.Path) != "." {
		return e, false // aufs refuses it as long as the directory was not copied up
	}
	for _, other := range tree.Files() {
		if other.Path == e.To {
			return e, r.mayRename(f, e.To) && r.mayRename(other, e.Path) && (other.Names < 2 || !shared[other.ID])
		}
	}
	return e, false
}

// contentEdit draws an edit of what a file holds, or one that only looks so.
func (r random) contentEdit(tree *model.Tree, e fstest.Edit, f model.File, breaks bool) (fstest.Edit, bool) {
	e.Op = pick(r, "op", []fstest.Op{
		fstest.OpWrite, fstest.OpAppend, fstest.OpTruncate, fstest.OpPunch, fstest.OpClone, fstest.OpRead,
	})
	_, capable := f.Xattrs["security.capability"]
	switch e.Op {
	case fstest.OpRead:
		return e, true
	case fstest.OpClone:
		e.To = r.linkTarget(tree)
	case fstest.OpPunch:
		e.Size = max(e.Size, 1)
		breaks = breaks || capable // not every file system drops capabilities then
	}
	return e, !breaks && f.Mode&diff.TypeMask == diff.TypeRegular
}

// attributeEdit draws an edit of attributes.
func (r random) attributeEdit(e fstest.Edit, f model.File, breaks bool) (fstest.Edit, bool) {
	e.Op = pick(r, "op", []fstest.Op{
		fstest.OpChmod, fstest.OpChown, fstest.OpTouch, fstest.OpTouchAtime, fstest.OpSetXattr, fstest.OpRemoveXattr, fstest.OpCopyUp,
	})
	ok := !breaks
	switch e.Op {
	case fstest.OpChmod:
		ok = ok && f.Mode&diff.TypeMask != diff.TypeSymlink
	case fstest.OpSetXattr:
		var fits bool
		e.Name = pick(r, "xattr name", randomXattrs)
		e.Body, fits = r.xattr(e.Name, f.Mode&diff.TypeMask == diff.TypeRegular, f.Mode&diff.TypeMask == diff.TypeDir)
		ok = ok && fits && !strings.Contains(e.Name, ".overlay.")
	case fstest.OpRemoveXattr:
		for name := range f.Xattrs {
			if e.Name < name {
				e.Name = name
			}
		}
		ok = ok && e.Name != "" && !strings.Contains(e.Name, ".overlay.") && !r.plain
	}
	return e, ok
}

// mayRename leaves out what rename(2) refuses, and directories where that needs
// a property.
func (r random) mayRename(f model.File, to string) bool {
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
