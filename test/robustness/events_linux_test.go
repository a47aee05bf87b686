package robustness

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// events are changes below a directory: files and directories that are made,
// renamed, removed and written to.
type events struct {
	file  *os.File
	names map[uint32]string
}

const watched = unix.IN_CREATE | unix.IN_MODIFY | unix.IN_MOVED_FROM | unix.IN_MOVED_TO | unix.IN_DELETE

// watch begins to see what changes in the directories below root: those that
// are there, without the trees of layers.
func watch(root string) (*events, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("inotify_init1", err)
	}
	// Reading a descriptor that does not block waits in the runtime, and Close ends
	// it.
	e := &events{file: os.NewFile(uintptr(fd), "inotify"), names: map[uint32]string{}}
	const depth = 3 // content/blobs/sha256
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !d.IsDir() {
			return err
		}
		below, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if strings.Count(below, "/") >= depth {
			return fs.SkipDir
		}
		wd, err := unix.InotifyAddWatch(fd, path, watched)
		if errors.Is(err, unix.ENOENT) {
			return fs.SkipDir
		}
		e.names[uint32(wd)] = path
		return err
	})
	if err != nil {
		return nil, errors.Join(err, e.file.Close())
	}
	return e, nil
}

// count calls seen with the number of changes so far after each, until the
// events are closed.
func (e *events) count(seen func(n int)) {
	buf := make([]byte, 64<<10)
	for n := 0; ; {
		read, err := e.file.Read(buf)
		if err != nil {
			return // it was closed
		}
		for b := buf[:read]; len(b) >= unix.SizeofInotifyEvent; {
			length := binary.NativeEndian.Uint32(b[12:])
			b = b[unix.SizeofInotifyEvent+length:]
			n++
			seen(n)
		}
	}
}

func (e *events) Close() error { return e.file.Close() }
