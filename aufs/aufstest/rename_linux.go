package aufstest

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// rename renames: aufs_rename.
func (e *Editor) rename(rel, to string) error {
	src, dst, done, err := e.mayRename(rel, to)
	if done || err != nil {
		return err
	}
	if err := e.copyUp(rel); err != nil {
		return err
	}
	hiddenDst, err := e.hasLower(to)
	if err != nil {
		return err
	}
	_, whitedOut, err := lstat(e.whiteoutOf(to))
	if err != nil {
		return err
	}
	opaque := src[0].isDir() && (whitedOut || hiddenDst || slices.ContainsFunc(dst, isOpaque))
	if len(dst) > 0 && dst[0].isDir() && e.isUp(dst[0], to) {
		if err := os.RemoveAll(e.up(to)); err != nil {
			return err
		}
	}
	if err := e.hideLower(rel); err != nil {
		return err
	}
	if err := unix.Rename(e.up(rel), e.up(to)); err != nil {
		return err
	}
	if opaque && !isOpaque(hit{path: e.up(to)}) {
		err = e.setOpaque(to)
	}
	if whitedOut {
		err = errors.Join(err, os.Remove(e.whiteoutOf(to)))
	}
	return err
}

func isOpaque(h hit) bool {
	_, ok, err := lstat(filepath.Join(h.path, opaqueMark))
	return ok && err == nil
}

// mayRename checks what the kernel checks before. done means that there is
// nothing to do, as both are names of one file.
func (e *Editor) mayRename(rel, to string) (src, dst []hit, done bool, err error) {
	if src, err = e.mustLookup(rel); err != nil {
		return nil, nil, false, err
	}
	if dst, err = e.lookup(to); err != nil {
		return nil, nil, false, err
	}
	switch {
	case rel == to, len(dst) > 0 && !src[0].isDir() && e.identity(src[0]) == e.identity(dst[0]):
		return src, dst, true, nil
	case strings.HasPrefix(to, rel+"/"):
		return nil, nil, false, unix.EINVAL
	case strings.HasPrefix(rel, to+"/"):
		return nil, nil, false, unix.ENOTEMPTY
	case len(dst) > 0 && src[0].isDir() && !dst[0].isDir():
		return nil, nil, false, unix.ENOTDIR
	case len(dst) > 0 && !src[0].isDir() && dst[0].isDir():
		return nil, nil, false, unix.EISDIR
	}
	if len(dst) > 0 && dst[0].isDir() {
		if err := requireEmpty(paths(dst), unix.ENOTEMPTY); err != nil {
			return nil, nil, false, err
		}
	}
	if src[0].isDir() {
		err = e.mayRenameDir(rel, src)
	}
	return src, dst, false, err
}

// mayExchange refuses what the module does: it copies the directory of the
// second name up, and then wants that of the first one to be in the writable
// branch.
func (e *Editor) mayExchange(rel, to string) error {
	if err := checkPath(to); err != nil {
		return err
	}
	if err := e.copyUpDir(filepath.Dir(to)); err != nil {
		return err
	}
	dir := filepath.Dir(rel)
	hits, err := e.dirs(dir)
	if err == nil && !e.isUp(hits[0], dir) {
		err = unix.EBUSY
	}
	return err
}

// exchange makes two names change places, both in the writable branch then.
// Directories keep their times, as [fstest.Edit] says.
func (e *Editor) exchange(rel, to string) error {
	src, err := e.mustLookup(rel)
	if err != nil {
		return err
	}
	dst, err := e.mustLookup(to)
	if err != nil {
		return err
	}
	switch {
	case rel == to, !src[0].isDir() && e.identity(src[0]) == e.identity(dst[0]):
		return nil
	case strings.HasPrefix(to, rel+"/"), strings.HasPrefix(rel, to+"/"):
		return unix.EINVAL
	}
	for name, hits := range map[string][]hit{rel: src, to: dst} {
		if !hits[0].isDir() {
			continue
		}
		if err := e.mayRenameDir(name, hits); err != nil {
			return err
		}
	}
	if err := errors.Join(e.copyUp(rel), e.copyUp(to)); err != nil {
		return err
	}
	if err := unix.Renameat2(unix.AT_FDCWD, e.up(rel), unix.AT_FDCWD, e.up(to), unix.RENAME_EXCHANGE); err != nil {
		return err
	}
	return errors.Join(e.coverLower(rel, dst[0]), e.coverLower(to, src[0]))
}

// coverLower makes a directory that came to a name opaque when lower branches
// have something of that name.
func (e *Editor) coverLower(rel string, came hit) error {
	if !came.isDir() || isOpaque(hit{path: e.up(rel)}) {
		return nil
	}
	if lower, err := e.hasLower(rel); err != nil || !lower {
		return err
	}
	if err := e.setOpaque(rel); err != nil {
		return err
	}
	return setMtime(e.up(rel), time.Unix(came.st.Mtim.Unix()))
}

// mayRenameDir is may_rename_srcdir: only an empty directory can leave lower
// branches behind.
func (e *Editor) mayRenameDir(rel string, src []hit) error {
	if !e.isUp(src[0], rel) {
		return requireEmpty(paths(src), unix.EXDEV)
	}
	return requireNothing(paths(src)[1:], paths(src), unix.EXDEV)
}

func requireEmpty(dirs []string, otherwise error) error {
	return requireNothing(dirs, dirs, otherwise)
}

// requireNothing fails when a merged directory shows a name that one of some of
// its branches has.
func requireNothing(some, all []string, otherwise error) error {
	for _, dir := range some {
		list, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, entry := range list {
			if strings.HasPrefix(entry.Name(), prefix) {
				continue
			}
			hits, err := child(all, entry.Name())
			if err != nil {
				return err
			}
			if len(hits) > 0 {
				return otherwise
			}
		}
	}
	return nil
}

// identity is the inode that the mount shows of a file.
func (e *Editor) identity(h hit) inode {
	if link, ok, err := lstat(e.links[inodeOf(h)]); ok && err == nil {
		return inodeOf(link)
	}
	return inodeOf(h)
}
