package aufstest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/fstest"
)

// An Editor is a mounted aufs whose uppermost branch is writable.
type Editor struct {
	branches []string // uppermost first
	mounted  bool
	// links are the pseudo-links: files in .wh..wh.plnk by the inode of a lower
	// branch that they are copies of. They live as long as the mount.
	links map[inode]string
	// opaque are directories that this mount has made opaque. The mount remembers
	// that nothing below them shows. The next mount reads the marks, of which the
	// lowest counts.
	opaque map[inode]bool
	live   bool // see Live
	times  *fstest.DirTimes
	copies int // for temporary names
}

type inode struct{ dev, ino uint64 }

func inodeOf(h hit) inode { return inode{h.st.Dev, h.st.Ino} }

// New mounts the branch at branchDir, writable, over the read-only branches
// parents, nearest first. All must be on one file system.
func New(branchDir string, parents []string) *Editor {
	e := &Editor{branches: append([]string{branchDir}, parents...), links: map[inode]string{}, opaque: map[inode]bool{}}
	e.times = &fstest.DirTimes{Root: branchDir, Stat: e.mtime}
	return e
}

// Apply makes an edit. It returns what the system call through the mount would:
// EXDEV for the rename of a directory with anything in a lower branch, EPERM
// for names that start with ".wh.", ENAMETOOLONG for names over 242 bytes.
//
// As in a mount, times that an edit sets are cut to seconds, and the directory
// in which a copy of a lower file is made gets the time at which that was done,
// but see [fstest.DirTimes].
//
// Paths must not lead through symbolic links.
func (e *Editor) Apply(edit fstest.Edit) error {
	edit.Mtime = wholeSeconds(edit.Mtime)
	err := e.mount()
	if err == nil {
		err = e.times.Apply(edit, e.apply)
	}
	if err != nil {
		return fmt.Errorf("aufs: edit %s: %w", edit, err)
	}
	return nil
}

// mtime returns the modification time that the mount shows of a directory, in
// whole seconds, as it would be set.
func (e *Editor) mtime(dir string) (time.Time, error) {
	hits, err := e.dirs(dir)
	if err != nil {
		return time.Time{}, err
	}
	return wholeSeconds(time.Unix(hits[0].st.Mtim.Unix())), nil
}

// mount leaves what the module leaves in the root of a writable branch.
func (e *Editor) mount() error {
	if e.mounted {
		return nil
	}
	e.mounted = true
	if _, ok, err := lstat(e.up(baseFile)); err != nil || !ok {
		if err != nil {
			return err
		}
		if err := makeMark(e.up(baseFile)); err != nil {
			return err
		}
	}
	for _, dir := range []string{orphanDir, linkDir} {
		if err := os.Mkdir(e.up(dir), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

func makeMark(path string) error {
	if err := os.WriteFile(path, nil, 0o444); err != nil {
		return err
	}
	return os.Chmod(path, 0o444)
}

// up is a path in the writable branch.
func (e *Editor) up(rel string) string { return filepath.Join(e.branches[0], rel) }

// checkPath refuses what no lookup through the mount gets past.
func checkPath(rel string) error {
	for name := range strings.SplitSeq(rel, "/") {
		if len(name) > maxName {
			return unix.ENAMETOOLONG
		}
		if strings.HasPrefix(name, prefix) {
			return unix.EPERM
		}
	}
	return nil
}

// lookup finds what the mount shows at a path; nothing when there is nothing.
func (e *Editor) lookup(rel string) ([]hit, error) {
	hits, err := e.dirs(filepath.Dir(rel))
	if err != nil || rel == "." {
		return hits, err
	}
	return e.child(hits, filepath.Base(rel))
}

// child looks a name up in a merged directory.
func (e *Editor) child(dirs []hit, name string) ([]hit, error) {
	hits, err := child(paths(dirs), name)
	if len(hits) > 1 && (e.opaque[inodeOf(hits[0])] || e.live && strings.HasPrefix(hits[0].path, e.branches[0]+"/") && isOpaque(hits[0])) {
		hits = hits[:1]
	}
	return hits, err
}

// KeepTimes makes the editor set the times of all directories back that copy-up
// changes. It is for layers that hold more than edits.
func (e *Editor) KeepTimes() *Editor {
	e.times.All = true
	return e
}

// Live makes the editor take all opaque marks of the writable branch for ones
// that this mount has made: nothing below them shows. It is for branches that
// get no whiteouts for what would reappear, see [ShowLive].
func (e *Editor) Live() *Editor {
	e.live = true
	return e
}

// mustLookup is lookup of what must be there.
func (e *Editor) mustLookup(rel string) ([]hit, error) {
	hits, err := e.lookup(rel)
	if err == nil && len(hits) == 0 {
		err = fs.ErrNotExist
	}
	return hits, err
}

// dirs finds a directory that must be there.
func (e *Editor) dirs(rel string) ([]hit, error) {
	var hits []hit
	for _, b := range e.branches {
		h, ok, err := lstat(b)
		if err != nil || !ok {
			return nil, errors.Join(err, fs.ErrNotExist)
		}
		hits = append(hits, h)
	}
	if rel == "." {
		return hits, nil
	}
	for name := range strings.SplitSeq(rel, "/") {
		var err error
		if hits, err = e.child(hits, name); err != nil {
			return nil, err
		}
		switch {
		case len(hits) == 0:
			return nil, fs.ErrNotExist
		case !hits[0].isDir():
			return nil, unix.ENOTDIR
		}
	}
	return hits, nil
}

// isUp reports whether a hit is in the writable branch.
func (e *Editor) isUp(h hit, rel string) bool { return h.path == e.up(rel) }

// hasLower reports whether the branches below have something at a path, as far
// as the directory that holds it shows them: au_wr_dir_need_wh.
func (e *Editor) hasLower(rel string) (bool, error) {
	dirs, err := e.dirs(filepath.Dir(rel))
	if err != nil {
		return false, err
	}
	lower := slices.DeleteFunc(paths(dirs), func(p string) bool { return p == e.up(filepath.Dir(rel)) })
	hits, err := child(lower, filepath.Base(rel))
	return len(hits) > 0, err
}

// copyUpDir copies a directory and those above it up, without what is in them.
func (e *Editor) copyUpDir(rel string) error {
	if rel == "." {
		return nil
	}
	hits, err := e.dirs(rel)
	if err != nil || e.isUp(hits[0], rel) {
		return err
	}
	parent := filepath.Dir(rel)
	if err := e.copyUpDir(parent); err != nil {
		return err
	}
	err = e.renamed(rel, func(to string) error {
		if err := os.Mkdir(to, 0o700); err != nil {
			return err
		}
		return copyAttributes(hits[0].path, to, hasValue)
	})
	return errors.Join(err, e.forget(rel))
}

// renamed makes a copy under a temporary name and gives it its name. The time
// of the directory changes: the module puts it back before the rename and not
// after.
func (e *Editor) renamed(rel string, fill func(to string) error) error {
	e.copies++
	tmp := filepath.Join(filepath.Dir(rel), fmt.Sprintf("%s%s.%08x", prefix, filepath.Base(rel), e.copies))
	if err := fill(e.up(tmp)); err != nil {
		return err
	}
	return unix.Rename(e.up(tmp), e.up(rel))
}

// copyUp copies a file up. What a pseudo-link stands for becomes a hard link of
// it; a file with several names becomes a pseudo-link itself: au_cpup_single.
func (e *Editor) copyUp(rel string) error {
	hits, err := e.mustLookup(rel)
	if err != nil || e.isUp(hits[0], rel) {
		return err
	}
	if hits[0].isDir() {
		return e.copyUpDir(rel)
	}
	if err := e.copyUpDir(filepath.Dir(rel)); err != nil {
		return err
	}
	from := hits[0]
	if link := e.links[inodeOf(from)]; link != "" {
		return keepTimes(filepath.Dir(e.up(rel)), func() error { return unix.Link(link, e.up(rel)) })
	}
	if err := e.renamed(rel, func(to string) error { return copyFile(from, to) }); err != nil {
		return err
	}
	if from.st.Nlink > 1 {
		return e.appendLink(from, e.up(rel))
	}
	return nil
}

// appendLink makes a pseudo-link of a lower file that was copied up to a path.
// Its name is made of two inode numbers; the first one, that of the aufs, is
// arbitrary.
func (e *Editor) appendLink(from hit, to string) error {
	h, _, err := lstat(to)
	if err != nil {
		return err
	}
	link := e.up(filepath.Join(linkDir, fmt.Sprintf("%d.%d", len(e.links)+2, h.st.Ino)))
	if err := os.Remove(link); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err // left by an earlier mount
	}
	e.links[inodeOf(from)] = link
	return unix.Link(to, link)
}

// wholeSeconds is what the module makes of a time that a program sets.
func wholeSeconds(t time.Time) time.Time { return time.Unix(t.Unix(), 0) }

// keepTimes calls fn and gives the directory the times back that it had.
func keepTimes(dir string, fn func() error) error {
	h, _, err := lstat(dir)
	if err != nil {
		return err
	}
	if err := fn(); err != nil {
		return err
	}
	return unix.UtimesNanoAt(unix.AT_FDCWD, dir, []unix.Timespec{h.st.Atim, h.st.Mtim}, unix.AT_SYMLINK_NOFOLLOW)
}
