package aufstest

import (
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/fstest"
)

func (e *Editor) apply(edit fstest.Edit) error {
	if err := checkPath(edit.Path); err != nil {
		return err
	}
	switch edit.Op {
	case fstest.OpCreate, fstest.OpMkdir, fstest.OpSymlink, fstest.OpMknod, fstest.OpSocket:
		return e.inParents(edit, []string{edit.Path}, func() error { return e.add(edit) })
	case fstest.OpLink:
		return e.inParents(edit, []string{edit.Path}, func() error { return e.link(edit.Path, edit.To) })
	case fstest.OpRemove:
		return e.inParents(edit, []string{edit.Path}, func() error { return e.remove(edit.Path) })
	case fstest.OpRename:
		return e.inParents(edit, []string{edit.Path, edit.To}, func() error { return e.rename(edit.Path, edit.To) })
	case fstest.OpExchange:
		if err := e.mayExchange(edit.Path, edit.To); err != nil {
			return err
		}
		return e.inParents(edit, []string{edit.Path, edit.To}, func() error { return e.exchange(edit.Path, edit.To) })
	case fstest.OpRead:
		_, err := e.mustLookup(edit.Path)
		return err
	case fstest.OpClone:
		return e.clone(edit)
	case fstest.OpRemoveXattr:
		return e.removeXattr(edit.Path, edit.Name)
	default:
		if err := e.copyUp(edit.Path); err != nil {
			return err
		}
		return edit.Apply(e.branches[0])
	}
}

// removeXattr removes an attribute. The module hands "no value" down to the
// branch, which takes it for an empty one.
func (e *Editor) removeXattr(rel, name string) error {
	if err := e.copyUp(rel); err != nil {
		return err
	}
	return unix.Lsetxattr(e.up(rel), name, nil, unix.XATTR_REPLACE)
}

// clone replaces the content of a file by that of another, which is read where
// it is.
func (e *Editor) clone(edit fstest.Edit) error {
	if err := e.copyUp(edit.Path); err != nil {
		return err
	}
	if err := checkPath(edit.To); err != nil {
		return err
	}
	from, err := e.mustLookup(edit.To)
	if err != nil {
		return err
	}
	if e.isUp(from[0], edit.To) {
		return edit.Apply(e.branches[0])
	}
	body, err := os.ReadFile(from[0].path)
	if err != nil {
		return err
	}
	return fstest.Edit{Op: fstest.OpWrite, Path: edit.Path, Body: string(body), Mtime: edit.Mtime}.Apply(e.branches[0])
}

// inParents calls fn with the directories that hold the names in the writable
// branch, and gives them the times afterwards that the edit says.
func (e *Editor) inParents(edit fstest.Edit, names []string, fn func() error) error {
	var dirs []string
	var times []unix.Timespec
	for _, name := range names {
		if err := checkPath(name); err != nil {
			return err
		}
		dir := filepath.Dir(name)
		if err := e.copyUpDir(dir); err != nil {
			return err
		}
		h, _, err := lstat(e.up(dir))
		if err != nil {
			return err
		}
		dirs, times = append(dirs, e.up(dir)), append(times, h.st.Mtim)
	}
	if err := fn(); err != nil {
		return err
	}
	for i, dir := range dirs {
		mtime := wholeSeconds(time.Unix(times[i].Unix()))
		if edit.TouchParents {
			mtime = edit.Mtime
		}
		if err := setMtime(dir, mtime); err != nil {
			return err
		}
	}
	return nil
}

func setMtime(path string, t time.Time) error {
	ts := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, {Sec: t.Unix(), Nsec: int64(t.Nanosecond())}}
	return unix.UtimesNanoAt(unix.AT_FDCWD, path, ts, unix.AT_SYMLINK_NOFOLLOW)
}

// whiteoutOf is where the writable branch has the whiteout of a path.
func (e *Editor) whiteoutOf(rel string) string {
	return e.up(filepath.Join(filepath.Dir(rel), prefix+filepath.Base(rel)))
}

// hideLower makes a whiteout where lower branches have something: a hard link
// of the base file, link_or_create_wh.
func (e *Editor) hideLower(rel string) error {
	if lower, err := e.hasLower(rel); err != nil || !lower {
		return err
	}
	return unix.Link(e.up(baseFile), e.whiteoutOf(rel))
}

// free returns whether the writable branch has a whiteout of a path where the
// mount shows nothing.
func (e *Editor) free(rel string) (whitedOut bool, err error) {
	hits, err := e.lookup(rel)
	if err == nil && len(hits) > 0 {
		err = fs.ErrExist
	}
	if err != nil {
		return false, err
	}
	_, whitedOut, err = lstat(e.whiteoutOf(rel))
	return whitedOut, err
}

// add makes a new file: add_simple and aufs_mkdir.
func (e *Editor) add(edit fstest.Edit) error {
	whitedOut, err := e.free(edit.Path)
	if err != nil {
		return err
	}
	if err := edit.Apply(e.branches[0]); err != nil {
		return err
	}
	if err := e.forget(edit.Path); err != nil || !whitedOut {
		return err
	}
	if edit.Op == fstest.OpMkdir {
		if err := keepTimes(e.up(edit.Path), func() error { return e.setOpaque(edit.Path) }); err != nil {
			return err
		}
	}
	return os.Remove(e.whiteoutOf(edit.Path))
}

// forget says that a file is new: it may have the inode number of a directory
// that was removed.
func (e *Editor) forget(rel string) error {
	h, _, err := lstat(e.up(rel))
	delete(e.opaque, inodeOf(h))
	return err
}

func (e *Editor) setOpaque(rel string) error {
	h, _, err := lstat(e.up(rel))
	if err != nil {
		return err
	}
	e.opaque[inodeOf(h)] = true
	return unix.Link(e.up(baseFile), e.up(filepath.Join(rel, opaqueMark)))
}

// link makes a hard link. A file of a lower branch is copied up under the new
// name only, and both are one file through a pseudo-link: au_cpup_or_link.
func (e *Editor) link(rel, target string) error {
	if err := checkPath(target); err != nil {
		return err
	}
	whitedOut, err := e.free(rel)
	if err != nil {
		return err
	}
	hits, err := e.lookup(target)
	switch {
	case err != nil:
		return err
	case len(hits) == 0:
		return fs.ErrNotExist
	case hits[0].isDir():
		return unix.EPERM
	}
	from := hits[0]
	link := e.links[inodeOf(from)]
	switch {
	case e.isUp(from, target):
		err = unix.Link(from.path, e.up(rel))
	case link != "":
		err = unix.Link(link, e.up(rel))
	default:
		if err = copyFile(from, e.up(rel)); err == nil {
			err = e.appendLink(from, e.up(rel))
		}
	}
	if err != nil || !whitedOut {
		return err
	}
	return os.Remove(e.whiteoutOf(rel))
}

// remove removes a path and all below it; a missing one is no error. Of a
// directory in the writable branch the whiteouts in it go too.
func (e *Editor) remove(rel string) error {
	hits, err := e.lookup(rel)
	if err != nil || len(hits) == 0 {
		return err
	}
	if err := e.hideLower(rel); err != nil {
		return err
	}
	if e.isUp(hits[0], rel) {
		return os.RemoveAll(e.up(rel))
	}
	return nil
}
