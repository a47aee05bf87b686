package rootfd

import (
	"errors"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/sys"
)

// OpenDirAt opens the directory at a slash-separated relative path below d. "."
// is d itself. No component may be a symbolic link or "..". A component that is
// not a directory gives ENOTDIR, as if each component had been opened in turn.
func (d *Dir) OpenDirAt(rel string) (*Dir, error) {
	rel = path.Clean(rel)
	if rel == "." {
		return d.reopen()
	}
	if path.IsAbs(rel) || rel == ".." || strings.HasPrefix(rel, "../") {
		return nil, d.wrap("open", rel, errName)
	}
	if !d.tree.noOpenat2 {
		next, err := d.openat2(rel)
		if !unusable(err) {
			return next, err
		}
	}
	return d.openEach(rel)
}

// LookupAt is Lookup for a slash-separated relative path. The rules of
// OpenDirAt apply.
func (d *Dir) LookupAt(rel string) (Stat, error) {
	rel = path.Clean(rel)
	if rel == "." {
		return d.Stat()
	}
	parent, name := path.Split(rel)
	if parent == "" {
		return d.Lookup(name)
	}
	dir, err := d.OpenDirAt(parent)
	if err != nil {
		return Stat{}, err
	}
	defer dir.Close()
	return dir.Lookup(name)
}

func (d *Dir) reopen() (*Dir, error) {
	fd := -1
	err := d.with(func(at int) (err error) {
		fd, err = openat(at, ".", dirFlags)
		return err
	})
	if err != nil {
		return nil, d.wrap("open", "", err)
	}
	return &Dir{fd: fd, at: d.at, name: d.name, tree: d.tree}, nil
}

func (d *Dir) openat2(rel string) (*Dir, error) {
	how := unix.OpenHow{
		Flags:   dirFlags,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	}
	var fd int
	err := d.with(func(at int) (err error) {
		fd, err = unix.Openat2(at, rel, &how)
		return err
	})
	if err != nil {
		if errors.Is(err, unix.ELOOP) {
			err = unix.ENOTDIR
		}
		return nil, d.wrap("open", rel, err)
	}
	return &Dir{fd: fd, at: d, name: rel, tree: d.tree}, nil
}

// unusable reports whether openEach must decide after an error of openat2(2):
// the kernel does not have it, a rename raced with the resolution (EAGAIN), or
// the path is longer than PATH_MAX.
func unusable(err error) bool {
	return sys.Refused(err) ||
		errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.ENAMETOOLONG)
}

func (d *Dir) openEach(rel string) (*Dir, error) {
	dir := d
	for name := range strings.SplitSeq(rel, "/") {
		next, err := dir.OpenDir(name)
		if dir != d {
			_ = dir.Close()
		}
		if err != nil {
			return nil, err
		}
		next.apart()
		dir = next
	}
	return dir, nil
}
