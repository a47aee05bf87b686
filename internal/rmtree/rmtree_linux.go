package rmtree

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/sys"
)

const (
	// maxOpen is the number of directories on the current path that are open.
	// Directories further up are opened again as "..".
	maxOpen = 32
	// maxAgain is the number of times that directories of a tree are listed again
	// because new names have appeared. The limit ends the removal if a program
	// makes new names all the time.
	maxAgain = 1000
	// maxShown is the number of names, at the end of a path, that an error shows.
	maxShown = 16
)

var errMounted = errors.New("something is mounted there")

// Remove removes the file or tree at path. It follows symbolic links in the
// directories above path, because path comes from the caller. A missing path is
// not an error. If a file cannot be removed, Remove still removes the rest, and
// returns the first error.
func Remove(path string) error {
	path = filepath.Clean(path)
	if quick(path) {
		return nil
	}
	parent, err := unix.Open(filepath.Dir(path), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return &fs.PathError{Op: "open", Path: filepath.Dir(path), Err: err}
	}
	defer unix.Close(parent)
	r := remover{path: path, buf: make([]byte, sys.DirBuffer), levels: []*level{{fd: parent, thawed: true}}}
	defer r.closeAll()
	return r.remove(filepath.Base(path))
}

// quick removes a file or an empty directory, or finds that the path does not
// exist. After a failure the caller uses the slow way.
func quick(path string) bool {
	err := (&level{fd: unix.AT_FDCWD}).unlinkOnce(entry{name: path})
	return err == nil || errors.Is(err, unix.ENOENT)
}

// A remover removes one tree. Its first level is the directory that contains
// the tree. The only name to remove there is the name of the tree.
type remover struct {
	path   string
	buf    []byte // for listings
	levels []*level
	again  int   // how many times a directory was listed again
	first  error // the first error
}

// A level is a directory on the current path.
type level struct {
	name string // in the directory above
	id   sys.Identity
	// fd is the open directory, or -1 if it was closed to save descriptors.
	fd int
	// pending has the names that were listed and not handled yet.
	pending []entry
	// removed counts the names that were removed since the last listing began.
	removed int
	// failed has the names that cannot be removed. A new listing returns them
	// again.
	failed map[string]bool
	// thawed: the flags of the directory itself were cleared, or must not be
	// touched.
	thawed bool
}

// An entry is a name in a directory. isDir is what the listing says. It may be
// wrong by now.
type entry struct {
	name  string
	isDir bool
}

func (r *remover) top() *level { return r.levels[len(r.levels)-1] }

func (r *remover) closeAll() {
	for _, l := range r.levels[1:] {
		if l.fd >= 0 {
			_ = unix.Close(l.fd)
		}
	}
}

func (r *remover) remove(name string) error {
	r.name(entry{name: name})
	for len(r.levels) > 1 {
		next, ok, err := r.top().next(r.buf)
		if err != nil && !errors.Is(err, unix.ENOENT) { // after ENOENT another process is removing the same tree
			r.note("", err)
		}
		if ok {
			r.name(next)
		} else if err := r.leave(); err != nil {
			return errors.Join(r.first, err)
		}
	}
	return r.first
}

// next returns the next name to remove in the directory. ok is false at the end
// of the listing.
func (l *level) next(buf []byte) (e entry, ok bool, err error) {
	for more := true; len(l.pending) == 0; {
		more, err = sys.ReadDirOnce(l.fd, buf, func(name string, typ uint8) error {
			if !l.failed[name] {
				l.pending = append(l.pending, entry{name, typ == unix.DT_DIR})
			}
			return nil
		})
		if err != nil || !more {
			return entry{}, false, err
		}
	}
	last := len(l.pending) - 1
	e, l.pending = l.pending[last], l.pending[:last]
	return e, true, nil
}

// name removes a name in the current directory, or enters it if it is a
// directory that is not empty.
func (r *remover) name(e entry) {
	l := r.top()
	err := l.unlink(e)
	switch {
	case err == nil || errors.Is(err, unix.ENOENT):
		l.removed++
		return
	case notEmpty(err):
		err = r.enter(e.name)
	}
	if err != nil {
		r.note(e.name, err)
		l.fail(e.name)
	}
}

func notEmpty(err error) bool { return errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST) }

// unlink removes a file or an empty directory. If the flags +i or +a prevent
// that, it clears them and tries again.
func (l *level) unlink(e entry) error {
	err := l.unlinkOnce(e)
	if errors.Is(err, unix.EPERM) && !l.thawed {
		l.thawed = true
		_ = sys.Thaw(l.fd) // if this fails, the next attempt returns the error
		err = l.unlinkOnce(e)
	}
	if errors.Is(err, unix.EPERM) {
		_ = sys.Thawat(l.fd, e.name)
		err = l.unlinkOnce(e)
	}
	return err
}

func (l *level) unlinkOnce(e entry) error {
	if e.isDir {
		if err := sys.Rmdirat(l.fd, e.name); !errors.Is(err, unix.ENOTDIR) {
			return err
		}
	}
	err := sys.Unlinkat(l.fd, e.name)
	if e.isDir || !errors.Is(err, unix.EISDIR) && !errors.Is(err, unix.EPERM) {
		return err
	}
	if rmdir := sys.Rmdirat(l.fd, e.name); !errors.Is(rmdir, unix.ENOTDIR) {
		return rmdir
	}
	return err
}

// enter makes a directory the current one.
func (r *remover) enter(name string) error {
	fd, err := sys.OpenDirat(r.top().fd, name)
	if err != nil {
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
			r.top().removed++ // a program has replaced it, so it is listed again
			return nil
		}
		return err
	}
	id, mounted, err := sys.Identify(fd)
	if err == nil && mounted {
		err = &fs.PathError{Op: "remove", Path: name, Err: errors.Join(unix.EBUSY, errMounted)}
	}
	if err != nil {
		_ = unix.Close(fd)
		return err
	}
	r.levels = append(r.levels, &level{name: name, id: id, fd: fd})
	if n := len(r.levels) - 1 - maxOpen; n > 0 {
		r.levels[n].shut()
	}
	return nil
}

// shut closes a directory. It is opened again later.
func (l *level) shut() {
	if l.fd >= 0 {
		_ = unix.Close(l.fd)
	}
	l.fd, l.pending = -1, nil
}

// leave removes the current directory, whose names were all handled, and goes
// up. It stays in the directory if new names have appeared.
func (r *remover) leave() error {
	l, above := r.top(), r.levels[len(r.levels)-2]
	if above.fd < 0 {
		if err := above.open(l.fd); err != nil {
			r.note("", err)
			r.giveUp()
			return nil
		}
	}
	err := above.unlink(entry{l.name, true})
	if notEmpty(err) && l.removed > 0 && r.again < maxAgain {
		r.again++
		l.removed, l.failed = 0, nil
		_, err := unix.Seek(l.fd, 0, unix.SEEK_SET)
		return os.NewSyscallError("lseek", err)
	}
	_ = unix.Close(l.fd)
	r.levels = r.levels[:len(r.levels)-1]
	if err == nil || errors.Is(err, unix.ENOENT) {
		above.removed++
	} else {
		r.note(l.name, err)
		above.fail(l.name)
	}
	return nil
}

// giveUp goes up to the next open directory, because the directory directly
// above cannot be opened again.
func (r *remover) giveUp() {
	for {
		l := r.top()
		if l.fd >= 0 {
			_ = unix.Close(l.fd)
		}
		r.levels = r.levels[:len(r.levels)-1]
		if above := r.top(); above.fd >= 0 {
			above.fail(l.name)
			return
		}
	}
}

func (l *level) fail(name string) {
	if l.failed == nil {
		l.failed = map[string]bool{}
	}
	l.failed[name] = true
}

// open opens the directory again, as ".." of an open one.
func (l *level) open(below int) error {
	fd, err := sys.OpenAbove(below, l.id)
	if err == nil {
		l.fd = fd
	}
	return err
}

// note keeps the first error, with the path of a name in the current directory.
func (r *remover) note(name string, err error) {
	if r.first != nil {
		return
	}
	var p *fs.PathError
	if errors.As(err, &p) {
		err = p.Err
	}
	r.first = &fs.PathError{Op: "remove", Path: r.shown(name), Err: err}
}

// shown returns the path of a name in the current directory. The middle of a
// very long path is cut out.
func (r *remover) shown(name string) string {
	names := []string{r.path}
	below := r.levels[1:]
	if len(below) > 0 {
		below = below[1:] // the name of the tree is already in the path
	}
	if n := len(below) - maxShown; n > 0 {
		names, below = append(names, "…"), below[n:]
	}
	for _, l := range below {
		names = append(names, l.name)
	}
	if name != "" && len(r.levels) > 1 {
		names = append(names, name)
	}
	return strings.Join(names, "/")
}
