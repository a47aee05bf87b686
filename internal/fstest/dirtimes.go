package fstest

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// DirTimes keeps the promise of [Edit] that directories keep their modification
// times, on a mount that changes them on its own: aufs gives a directory the
// time at which a file was copied up into it. Such a time is left alone as long
// as no edit has set one, so that the code under test has to see through it.
// After that nobody can tell what the time was, and it is set again.
type DirTimes struct {
	// Root is the directory in which times are set.
	Root string
	// Stat returns the modification time of a directory of the mounted tree, and an
	// error for anything else.
	Stat func(dir string) (time.Time, error)
	// All sets the times of all directories that edits lead through.
	All bool

	want map[string]time.Time
	set  map[string]bool
}

// MountTimes is DirTimes for a tree mounted on root.
func MountTimes(root string) *DirTimes {
	return &DirTimes{Root: root, Stat: func(dir string) (time.Time, error) {
		fi, err := os.Lstat(filepath.Join(root, dir))
		if err == nil && !fi.IsDir() {
			err = fs.ErrNotExist
		}
		if err != nil {
			return time.Time{}, err
		}
		return fi.ModTime(), nil
	}}
}

// Apply calls apply with an edit and then sets times.
func (d *DirTimes) Apply(e Edit, apply func(Edit) error) error {
	if d.want == nil {
		d.want, d.set = map[string]time.Time{}, map[string]bool{}
	}
	d.look(e.Path)
	if e.Op == OpRename || e.Op == OpExchange {
		d.look(e.To)
	}
	if err := apply(e); err != nil {
		return err
	}
	switch {
	case e.Op == OpTouch:
		if p := filepath.Clean(e.Path); d.isDir(p) {
			d.want[p], d.set[p] = e.Mtime, true
		}
	case e.Op.movesNames():
		d.moved(e, e.Path)
		if e.Op == OpRename || e.Op == OpExchange {
			d.moved(e, e.To)
		}
	}
	for dir := range d.want {
		if !d.All && !d.set[dir] {
			continue
		}
		if now, err := d.Stat(dir); err == nil && !now.Equal(d.want[dir]) {
			if err := os.Chtimes(filepath.Join(d.Root, dir), time.Time{}, d.want[dir]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *DirTimes) isDir(p string) bool {
	_, err := d.Stat(p)
	return err == nil
}

// look remembers the times of the directories that a path leads through.
func (d *DirTimes) look(p string) {
	for p = filepath.Clean(p); p != "." && p != "/" && p != ".."; {
		p = filepath.Dir(p)
		if _, known := d.want[p]; known {
			continue
		}
		if t, err := d.Stat(p); err == nil {
			d.want[p] = t
		}
	}
}

// moved says that a name is new, or gone, or something else than it was.
func (d *DirTimes) moved(e Edit, p string) {
	p = filepath.Clean(p)
	for dir := range d.want {
		if dir == p || strings.HasPrefix(dir, p+"/") {
			delete(d.want, dir)
			delete(d.set, dir)
		}
	}
	dir := filepath.Dir(p)
	if e.TouchParents {
		d.want[dir] = e.Mtime
	}
	if _, known := d.want[dir]; known {
		d.set[dir] = true
	}
}
