package model

import (
	"fmt"
	"maps"
	"path"
	"strings"
	"time"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/internal/fstest"
)

// lookup returns the inode at a path without following symbolic links, nil when
// there is none.
func (t *Tree) lookup(p string) *inode {
	i := t.root
	for _, c := range components(p) {
		if i = i.kids[c]; i == nil {
			return nil
		}
	}
	return i
}

// Edit carries out an edit as a mounted file system would.
func (t *Tree) Edit(e fstest.Edit) error {
	dir, name := t.lookup(path.Dir(e.Path)), path.Base(e.Path)
	if dir == nil || !dir.isDir() {
		return fmt.Errorf("edit %s: no such directory", e)
	}
	i := dir.kids[name]
	if e.Path == "." {
		i = t.root
	}
	switch e.Op {
	case fstest.OpCreate, fstest.OpMkdir, fstest.OpSymlink, fstest.OpMknod, fstest.OpSocket, fstest.OpLink:
		if i != nil {
			return fmt.Errorf("edit %s: exists", e)
		}
		return t.create(e, dir, name)
	}
	if i == nil {
		return fmt.Errorf("edit %s: does not exist", e)
	}
	switch e.Op {
	case fstest.OpRemove:
		delete(dir.kids, name)
		touch(e, dir)
	case fstest.OpRename:
		return t.rename(e, dir, name)
	case fstest.OpExchange:
		return t.exchange(e, dir, name)
	case fstest.OpRead:
	case fstest.OpWrite, fstest.OpAppend, fstest.OpTruncate, fstest.OpPunch, fstest.OpClone:
		return t.write(e, dir, name)
	default:
		t.copyUp(dir, name).change(e)
	}
	return nil
}

// copyUp returns the inode to change for what is called name in dir, a new one
// where the change breaks a hard link.
func (t *Tree) copyUp(dir *inode, name string) *inode {
	i := dir.kids[name]
	if i == nil {
		return t.root // the path was "."
	}
	if t.breaks && !i.isDir() && !t.own[i] {
		i = i.clone(map[*inode]*inode{})
		dir.kids[name] = i
		t.own[i] = true
	}
	return i
}

func touch(e fstest.Edit, dirs ...*inode) {
	for _, dir := range dirs {
		if e.TouchParents {
			dir.mtime = e.Mtime
		}
	}
}

func (t *Tree) create(e fstest.Edit, dir *inode, name string) error {
	touch(e, dir)
	if e.Op == fstest.OpLink {
		target := t.lookup(e.To)
		if target == nil || target.isDir() {
			return fmt.Errorf("edit %s: nothing to link to", e)
		}
		dir.kids[name] = t.copyUp(t.lookup(path.Dir(e.To)), path.Base(e.To))
		return nil
	}
	i := &inode{mode: e.Mode & diff.PermMask, uid: e.UID, gid: e.GID, mtime: e.Mtime}
	switch e.Op {
	case fstest.OpCreate:
		i.mode |= diff.TypeRegular
		i.body = e.Body
	case fstest.OpMkdir:
		i.mode |= diff.TypeDir
		i.kids = map[string]*inode{}
	case fstest.OpSymlink:
		i.mode = diff.TypeSymlink | 0o777
		i.target = e.To
	case fstest.OpMknod:
		i.mode, i.rdev = e.Mode, e.Rdev
	case fstest.OpSocket:
		i.mode |= diff.TypeSocket
	}
	dir.kids[name] = i
	t.own[i] = true
	return nil
}

func (t *Tree) rename(e fstest.Edit, dir *inode, name string) error {
	to := t.lookup(path.Dir(e.To))
	if to == nil || !to.isDir() {
		return fmt.Errorf("edit %s: no such directory", e)
	}
	old, i := to.kids[path.Base(e.To)], dir.kids[name]
	if old != nil && (old == i || old.isDir() != i.isDir() || len(old.kids) > 0) {
		return fmt.Errorf("edit %s: rename(2) refuses or ignores this", e)
	}
	i = t.copyUp(dir, name)
	delete(dir.kids, name)
	to.kids[path.Base(e.To)] = i
	touch(e, dir, to)
	return nil
}

func (t *Tree) exchange(e fstest.Edit, dir *inode, name string) error {
	to, other := t.lookup(path.Dir(e.To)), path.Base(e.To)
	one, two := t.lookup(e.Path), t.lookup(e.To)
	switch {
	case e.Path == "." || e.To == "." || two == nil || one == two:
		return fmt.Errorf("edit %s: nothing to change places with", e)
	case below(e.Path, e.To) || below(e.To, e.Path):
		return fmt.Errorf("edit %s: one is in the other", e)
	}
	one, two = t.copyUp(dir, name), t.copyUp(to, other)
	dir.kids[name], to.kids[other] = two, one
	touch(e, dir, to)
	return nil
}

// below reports whether p is dir or in it.
func below(p, dir string) bool { return strings.HasPrefix(p+"/", dir+"/") }

// write carries out the edits of the content of a regular file.
func (t *Tree) write(e fstest.Edit, dir *inode, name string) error {
	i, from := dir.kids[name], t.lookup(e.To)
	if i == nil || i.kind() != diff.TypeRegular {
		return fmt.Errorf("edit %s: not a regular file", e)
	}
	if e.Op == fstest.OpClone && (from == nil || from == i || from.kind() != diff.TypeRegular) {
		return fmt.Errorf("edit %s: no other regular file to clone", e)
	}
	i = t.copyUp(dir, name)
	switch e.Op {
	case fstest.OpWrite:
		i.body = e.Body
	case fstest.OpAppend:
		i.body += e.Body
	case fstest.OpTruncate:
		i.body += zeros(e.Size - int64(len(i.body)))
		i.body = i.body[:e.Size]
	case fstest.OpPunch:
		start := min(e.Offset, int64(len(i.body)))
		end := min(e.Offset+e.Size, int64(len(i.body)))
		i.body = i.body[:start] + zeros(end-start) + i.body[end:]
	case fstest.OpClone:
		i.body = from.body
	}
	i.mtime = e.Mtime
	if e.Op != fstest.OpAppend || e.Body != "" { // nothing written is no write
		delete(i.xattrs, "security.capability")
	}
	return nil
}

func zeros(n int64) string { return strings.Repeat("\x00", int(max(n, 0))) }

// change carries out the edits of attributes.
func (i *inode) change(e fstest.Edit) {
	switch e.Op {
	case fstest.OpChmod:
		i.mode = i.kind() | e.Mode&diff.PermMask
	case fstest.OpChown:
		i.uid, i.gid = e.UID, e.GID
		if !i.isDir() {
			delete(i.xattrs, "security.capability")
		}
	case fstest.OpTouch:
		i.mtime = e.Mtime
	case fstest.OpSetXattr:
		xattrs := map[string]string{e.Name: e.Body}
		for k, v := range i.xattrs {
			if k != e.Name {
				xattrs[k] = v
			}
		}
		i.xattrs = xattrs
	case fstest.OpRemoveXattr:
		i.xattrs = maps.Clone(i.xattrs)
		delete(i.xattrs, e.Name)
	}
}

// A File is what [Tree.Files] tells of a path, for those who choose edits.
type File struct {
	Path string
	Mode uint32
	// Names counts the names of the inode.
	Names int
	// Xattrs are the names of its extended attributes.
	Xattrs map[string]string
	// Children counts the children of a directory.
	Children int
	// ID is the same for two names of one inode in this tree only.
	ID any
}

// Files lists the tree in the order of a walk, the root first.
func (t *Tree) Files() []File {
	links := t.links()
	var files []File
	t.walk(func(p string, i *inode) {
		files = append(files, File{
			Path: p, Mode: i.mode, Names: len(links[i]), Xattrs: maps.Clone(i.xattrs), Children: len(i.kids), ID: i,
		})
	})
	return files
}

// Mtime returns the modification time of a path that exists.
func (t *Tree) Mtime(p string) time.Time { return t.lookup(p).mtime }
