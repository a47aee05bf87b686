package fstest

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/diff"
)

// Apply carries the edit out below the directory root.
func (e Edit) Apply(root string) error {
	if err := e.apply(root); err != nil {
		return fmt.Errorf("edit %s: %w", e, err)
	}
	return nil
}

func (e Edit) apply(root string) error {
	p := filepath.Join(root, e.Path)
	if !e.Op.movesNames() {
		return e.change(root, p)
	}
	keep, err := e.keptTimes(root, p)
	if err != nil {
		return err
	}
	if err := e.name(root, p); err != nil {
		return err
	}
	for dir, mtime := range keep {
		if err := setMtime(dir, mtime); err != nil {
			return err
		}
	}
	return nil
}

// keptTimes returns the directories whose modification times an edit of names
// changes, and the times they are to have.
func (e Edit) keptTimes(root, p string) (map[string]time.Time, error) {
	to := filepath.Join(root, e.To)
	keep := map[string]time.Time{}
	parents := []string{filepath.Dir(p)}
	if e.Op == OpRename || e.Op == OpExchange {
		parents = append(parents, filepath.Dir(to))
	}
	if e.Op == OpExchange { // xfs changes the times of directories that move
		for from, there := range map[string]string{p: to, to: p} {
			if fi, err := os.Lstat(from); err == nil && fi.IsDir() {
				keep[there] = fi.ModTime()
			}
		}
	}
	for _, dir := range parents {
		fi, err := os.Lstat(dir)
		if err != nil {
			return nil, err
		}
		keep[dir] = fi.ModTime()
		if e.TouchParents {
			keep[dir] = e.Mtime
		}
	}
	return keep, nil
}

// name carries out the edits that add or remove names.
func (e Edit) name(root, p string) error {
	switch e.Op {
	case OpCreate:
		if err := writeNew(p, e.Body); err != nil {
			return err
		}
	case OpMkdir:
		if err := unix.Mkdir(p, 0o700); err != nil {
			return err
		}
	case OpSymlink:
		if err := unix.Symlink(e.To, p); err != nil {
			return err
		}
	case OpMknod:
		if err := unix.Mknod(p, e.Mode, int(e.Rdev)); err != nil {
			return err
		}
	case OpSocket:
		if err := unix.Mknod(p, unix.S_IFSOCK|e.Mode, 0); err != nil {
			return err
		}
	case OpLink:
		return unix.Link(filepath.Join(root, e.To), p)
	case OpRemove:
		return os.RemoveAll(p)
	case OpRename:
		return unix.Rename(p, filepath.Join(root, e.To))
	case OpExchange:
		return unix.Renameat2(unix.AT_FDCWD, p, unix.AT_FDCWD, filepath.Join(root, e.To), unix.RENAME_EXCHANGE)
	}
	return e.attributes(p)
}

// attributes gives a new file the owner, the mode and the time of the edit.
func (e Edit) attributes(p string) error {
	if err := unix.Lchown(p, int(e.UID), int(e.GID)); err != nil {
		return err
	}
	if e.Op != OpSymlink {
		if err := unix.Chmod(p, e.Mode&diff.PermMask); err != nil {
			return err
		}
	}
	return setMtime(p, e.Mtime)
}

// change carries out the edits of what is there.
func (e Edit) change(root, p string) error {
	var st unix.Stat_t
	if err := unix.Lstat(p, &st); err != nil {
		return err
	}
	switch e.Op {
	case OpWrite, OpAppend, OpTruncate, OpPunch, OpClone:
		if err := e.content(root, p); err != nil {
			return err
		}
		if err := unix.Chmod(p, st.Mode&diff.PermMask); err != nil {
			return err
		}
		return setMtime(p, e.Mtime)
	case OpChmod:
		return unix.Chmod(p, e.Mode&diff.PermMask)
	case OpChown:
		if err := unix.Lchown(p, int(e.UID), int(e.GID)); err != nil {
			return err
		}
		if st.Mode&unix.S_IFMT == unix.S_IFLNK {
			return nil
		}
		return unix.Chmod(p, st.Mode&diff.PermMask)
	case OpTouch:
		return setMtime(p, e.Mtime)
	case OpSetXattr:
		return unix.Lsetxattr(p, e.Name, []byte(e.Body), 0)
	case OpRemoveXattr:
		return unix.Lremovexattr(p, e.Name)
	case OpCopyUp:
		return copyUp(p, st)
	case OpRead:
		return read(p, st)
	case OpTouchAtime:
		ts := []unix.Timespec{{Nsec: unix.UTIME_NOW}, {Nsec: unix.UTIME_OMIT}}
		return unix.UtimesNanoAt(unix.AT_FDCWD, p, ts, unix.AT_SYMLINK_NOFOLLOW)
	}
	return fmt.Errorf("no such edit: %d", e.Op)
}

// content carries out the edits of a regular file's content.
func (e Edit) content(root, p string) error {
	switch e.Op {
	case OpWrite:
		return writeFile(p, e.Body, os.O_WRONLY|os.O_TRUNC)
	case OpAppend:
		return writeFile(p, e.Body, os.O_WRONLY|os.O_APPEND)
	case OpTruncate:
		return unix.Truncate(p, e.Size)
	case OpPunch:
		return punch(p, e.Offset, e.Size)
	default:
		return clone(p, filepath.Join(root, e.To))
	}
}

func punch(p string, offset, size int64) error {
	f, err := os.OpenFile(p, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, offset, size); err != nil {
		return err
	}
	return f.Close()
}

// clone shares the blocks of a file where that can be done, and copies
// elsewhere.
func clone(p, from string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(p, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	defer dst.Close()
	if unix.IoctlFileClone(int(dst.Fd()), int(src.Fd())) != nil {
		// Not by copy_file_range(2), which may share blocks on its own.
		if _, err := io.Copy(struct{ io.Writer }{dst}, src); err != nil {
			return err
		}
	}
	return dst.Close()
}

func read(p string, st unix.Stat_t) error {
	var err error
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		_, err = os.ReadFile(p)
	case unix.S_IFDIR:
		_, err = os.ReadDir(p)
	case unix.S_IFLNK:
		_, err = os.Readlink(p)
	}
	return err
}

func copyUp(p string, st unix.Stat_t) error {
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		if err := writeFile(p, "", os.O_WRONLY); err != nil {
			return err
		}
		fi, err := os.Lstat(p)
		if mtime := time.Unix(st.Mtim.Unix()); err == nil && !fi.ModTime().Equal(mtime) {
			err = setMtime(p, mtime) // overlay's late copy of the body, with metacopy, sets it to now
		}
		return err
	case unix.S_IFLNK:
		return unix.Lchown(p, int(st.Uid), int(st.Gid))
	default:
		return unix.Chmod(p, st.Mode&diff.PermMask)
	}
}

func writeNew(p, body string) error {
	return writeFile(p, body, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
}

func writeFile(p, body string, flags int) error {
	f, err := os.OpenFile(p, flags, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if body != "" {
		if _, err := f.WriteString(body); err != nil {
			return err
		}
	}
	return f.Close()
}

func setMtime(p string, t time.Time) error {
	ts := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, {Sec: t.Unix(), Nsec: int64(t.Nanosecond())}}
	return unix.UtimesNanoAt(unix.AT_FDCWD, p, ts, unix.AT_SYMLINK_NOFOLLOW)
}
