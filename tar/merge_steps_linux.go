package tar

import (
	"errors"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/internal/attrs"
	"github.com/layerkeep/layerkeep/internal/sys"
	"github.com/layerkeep/layerkeep/internal/whiteout"
)

func (g *merger) openTrash() error {
	if g.trash >= 0 {
		return nil
	}
	if err := sys.Mkdirat(g.src, trashName, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	fd, err := sys.OpenDirat(g.src, trashName)
	if err == nil {
		g.trash = fd
	}
	return err
}

// moveAside moves a name of the target to the trash.
func (g *merger) moveAside(l *level, name string) error {
	if err := g.openTrash(); err != nil {
		return err
	}
	number := g.unique()
	if err := g.note(l, undoStep{kind: undoMovedAside, name: name, aside: number}); err != nil {
		return err
	}
	aside := strconv.Itoa(number)
	err := sys.Renameat2(l.dst.fd, name, g.trash, aside, 0)
	if errors.Is(err, unix.EPERM) { // the file is immutable or append-only (chattr +i, +a)
		if thawed := sys.Thawat(l.dst.fd, name); thawed != nil {
			return errors.Join(err, thawed)
		}
		err = sys.Renameat2(l.dst.fd, name, g.trash, aside, 0)
	}
	return err
}

// moveIn moves a file or a whole tree into the target. The name must be free
// there.
func (g *merger) moveIn(l *level, src int, from, name string) error {
	if err := g.undoDir(l); err != nil { // so that note cannot fail after the rename
		return err
	}
	if err := sys.Renameat2(src, from, l.dst.fd, name, 0); err != nil {
		return err
	}
	return g.note(l, undoStep{kind: undoMovedIn, name: name})
}

// readDirAttrs reads the attributes of an open directory. Extended attributes
// have their names on disk. Those that belong to the encoding itself are left
// out.
func readDirAttrs(fd int, enc whiteout.Encoding) (*attributes, error) {
	st, err := sys.Fstat(fd)
	if err != nil {
		return nil, err
	}
	a := &attributes{Attrs: attrs.Attrs{Mode: st.Mode & diff.PermMask, UID: st.Uid, GID: st.Gid, Mtime: time.Unix(st.Mtim.Unix())}}
	names, err := sys.Flistxattr(fd)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if _, carried := enc.XattrFromDisk(name); !carried {
			continue
		}
		value, ok, err := sys.Fgetxattr(fd, name)
		if err != nil {
			return nil, err
		}
		if ok {
			a.Xattrs = append(a.Xattrs, attrs.Xattr{Name: name, Value: string(value)})
		}
	}
	a.Sort()
	return a, nil
}

// setDirAttrs sets the attributes of an open directory of the target. before is
// the attributes that it has now, or nil if they are not known.
func (g *merger) setDirAttrs(fd int, a attributes, before *attributes) error {
	if before == nil {
		var err error
		if before, err = readDirAttrs(fd, g.enc); err != nil {
			return err
		}
	}
	if a.SameMeta(&before.Attrs) {
		return keepMtime(fd, a.Mtime)
	}
	for _, x := range before.Xattrs {
		if !a.HasXattr(x.Name) {
			if err := sys.Fremovexattr(fd, x.Name); err != nil && !errors.Is(err, unix.ENODATA) {
				return err
			}
		}
	}
	return g.maker.setOpen(fd, func() string { return "." }, &a, attrs.UnknownMode)
}

// keepMtime sets the mtime of an open directory, unless it already has this
// mtime. Setting it would mark the directory as changed, and a backend that
// uses such marks would have to compare all its names.
func keepMtime(fd int, mtime time.Time) error {
	st, err := sys.Fstat(fd)
	if err != nil || time.Unix(st.Mtim.Unix()).Equal(mtime) {
		return err
	}
	return attrs.Open(fd).SetTimes(mtime)
}

// viewAttrs reads the attributes of a directory of the parents.
func (g *merger) viewAttrs(d diff.Dir) (*attributes, error) {
	n, err := d.Stat()
	if err != nil {
		return nil, err
	}
	xattrs, err := d.Xattrs()
	if err != nil {
		return nil, err
	}
	a := nodeAttrs(n, xattrs, g.enc)
	return &a, nil
}

// A dirent is a name in a directory.
type dirent struct {
	name string
	dir  bool
}

// listDir lists an open directory.
func listDir(fd int) (list []dirent, err error) {
	err = eachName(fd, func(e dirent) error {
		list = append(list, e)
		return nil
	})
	return list, err
}

// eachName calls visit for the names in an open directory. visit may remove
// names or move them away.
func eachName(fd int, visit func(dirent) error) error {
	again, err := sys.OpenDirat(fd, ".") // a new descriptor has a read offset of its own
	if err != nil {
		return err
	}
	defer unix.Close(again)
	return sys.ReadDir(again, func(name string, typ uint8) error {
		if typ == unix.DT_UNKNOWN {
			st, err := sys.Fstatat(fd, name)
			if err != nil {
				return err
			}
			typ = uint8(st.Mode & unix.S_IFMT >> 12)
		}
		return visit(dirent{name, typ == unix.DT_DIR})
	})
}

// takeAll calls visit for the names in an open directory; visit takes the name
// out of the directory or leaves it. Taking names away while the directory is
// read could make the kernel skip others. So takeAll reads the directory again
// until visit has taken nothing.
func takeAll(fd int, visit func(dirent) (taken bool, err error)) error {
	for again := true; again; {
		again = false
		err := eachName(fd, func(e dirent) error {
			taken, err := visit(e)
			again = again || taken
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func lstat(fd int, name string) (st unix.Stat_t, exists bool, err error) {
	st, err = sys.Fstatat(fd, name)
	if errors.Is(err, fs.ErrNotExist) {
		return st, false, nil
	}
	return st, err == nil, err
}

// hasName reports whether a directory of the parents has a name. d is nil if
// there is no directory.
func hasName(d diff.Dir, name string) (bool, error) {
	_, ok, err := lookupIn(d, name)
	return ok, err
}

// openPath opens a directory by an absolute path without symbolic links. It
// returns nil if there is no such directory. It closes root.
func openPath(root diff.Dir, path string) (diff.Dir, error) {
	cur := root
	for name := range strings.SplitSeq(path, "/") {
		if name == "" {
			continue
		}
		next, err := openChild(cur, name)
		cur.Close()
		if next == nil || err != nil {
			return nil, err
		}
		cur = next
	}
	return cur, nil
}
