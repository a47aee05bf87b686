// Package ownfiles opens the files that a store keeps for itself.
//
// A store may be on a disk that somebody else has prepared: that of an old
// machine, a shared volume. A link in the place of a file would lead out of the
// store, a fifo would make its reader wait for ever, and a device can act on
// being opened. So each of the store's own files and directories must be what
// it is named for, or it is refused by name. Nothing is repaired and nothing
// removed: whose it is only a person can say.
//
// It does not guard against somebody who changes these files while the store is
// open; nor does it tell a file from a hard link to one that is elsewhere on
// the same file system.
package ownfiles

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrUnsafe: something in the store is not a file or directory of the store's
// own.
var ErrUnsafe = errors.New("not safe to use")

// ErrTooLong: a file has more bytes than any that the store writes.
var ErrTooLong = errors.New("too long")

// An Entry is what a directory has under a name, if anything.
type Entry struct {
	Name string
	// Dir: it is a directory, and else a regular file.
	Dir bool
}

// Check looks at entries of a directory; missing ones are fine. It returns
// ErrUnsafe, naming the path, for what is of another type, a symbolic link
// included.
func Check(dir string, entries ...Entry) error {
	for _, e := range entries {
		path := filepath.Join(dir, e.Name)
		info, err := os.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = checkType(path, info, e.Dir)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// CheckOwner returns ErrUnsafe for what belongs to another user than this
// process or root, who could change it. In a user namespace what has no owner
// there belongs to others, too.
func CheckOwner(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || st.Uid == 0 || int(st.Uid) == os.Geteuid() {
		return nil
	}
	return fmt.Errorf("%w: %s belongs to user %d, who can change what is in it: open it as that user, or to read it alone, "+
		"or, if you trust what is in it, give it to yourself (chown)", ErrUnsafe, path, st.Uid)
}

// CheckAll looks at all that is in a directory of the store's own, in which
// there are directories and regular files only. It returns ErrUnsafe for
// anything else.
func CheckAll(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if t := e.Type(); t != 0 && t != fs.ModeDir {
			return unsafe(filepath.Join(dir, e.Name()), t, "a regular file or a directory")
		}
	}
	return nil
}

func checkType(path string, info fs.FileInfo, dir bool) error {
	switch {
	case dir && info.IsDir() || !dir && info.Mode().IsRegular():
		return nil
	case dir:
		return unsafe(path, info.Mode(), "a directory")
	}
	return unsafe(path, info.Mode(), "a regular file")
}

func unsafe(path string, is fs.FileMode, want string) error {
	return fmt.Errorf("%w: %s is %s, and should be %s: look where this store comes from", ErrUnsafe, path, kind(is), want)
}

func kind(mode fs.FileMode) string {
	switch mode.Type() {
	case 0:
		return "a regular file"
	case fs.ModeDir:
		return "a directory"
	case fs.ModeSymlink:
		return "a symbolic link"
	case fs.ModeNamedPipe:
		return "a fifo"
	case fs.ModeSocket:
		return "a socket"
	}
	return "a device"
}

// CheckFile returns ErrUnsafe for what [os.Lstat] has found to be no regular
// file.
func CheckFile(path string, info fs.FileInfo) error { return checkType(path, info, false) }

// OpenFile is [os.OpenFile] for a regular file, or one that it makes. It
// returns ErrUnsafe for anything else under that name, which it does not open.
func OpenFile(path string, flag int, perm fs.FileMode) (f *os.File, err error) {
	for range maxTries {
		info, err := os.Lstat(path)
		if err == nil {
			err = checkType(path, info, false)
		}
		missing := errors.Is(err, fs.ErrNotExist) && flag&os.O_CREATE != 0
		if err != nil && !missing {
			return nil, err
		}
		if missing {
			f, err = os.OpenFile(path, flag|os.O_EXCL, perm)
			if errors.Is(err, fs.ErrExist) && flag&os.O_EXCL == 0 {
				continue // another process has made it, which may well be ours
			}
			return f, err
		}
		f, err = openFound(path, flag, perm)
		if errors.Is(err, fs.ErrNotExist) && flag&os.O_CREATE != 0 {
			continue // it was there a moment ago
		}
		return f, err
	}
	return f, err
}

// maxTries is how often a file may come and go while it is opened.
const maxTries = 100

// openFound opens what was a regular file a moment ago. Whoever puts something
// else there now gains nothing but an error.
func openFound(path string, flag int, perm fs.FileMode) (*os.File, error) {
	if flag&os.O_EXCL == 0 {
		flag &^= os.O_CREATE
	}
	f, err := os.OpenFile(path, flag|unix.O_NOFOLLOW|unix.O_NONBLOCK, perm)
	if errors.Is(err, unix.ELOOP) {
		return nil, unsafe(path, fs.ModeSymlink, "a regular file")
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil {
		err = checkType(path, info, false)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Open is [OpenFile] for reading.
func Open(path string) (*os.File, error) { return OpenFile(path, os.O_RDONLY, 0) }

// Read returns the content of a file of at most limit bytes, and ErrTooLong for
// a longer one.
func Read(path string, limit int64) ([]byte, error) {
	f, err := Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(raw)) > limit {
		return nil, fmt.Errorf("%s: %w: it has more than %d bytes", path, ErrTooLong, limit)
	}
	return raw, nil
}
