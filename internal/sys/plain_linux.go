package sys

import (
	"errors"

	"golang.org/x/sys/unix"
)

// ErrNotPlain says that a file is neither a regular file nor a directory.
var ErrNotPlain = errors.New("neither a regular file nor a directory")

var errNoProc = errors.New("/proc is not mounted here, or hidden")

// OpenPlain opens a regular file or directory for reading, and returns its
// attributes at that moment. It does not follow a symbolic link. It never opens
// another type of file, even if a program replaces the file meanwhile: opening
// a device can have effects, and opening a fifo can block. For such a file it
// returns an error that matches [ErrNotPlain].
//
// It first opens the file with O_PATH, which holds the file without opening it.
// It then opens the path of that descriptor in /proc, which leads to exactly
// this file.
func OpenPlain(dirfd int, name string) (fd int, st unix.Stat_t, err error) {
	held, err := Openat(dirfd, name, unix.O_PATH, 0)
	if err != nil {
		return -1, st, err
	}
	defer unix.Close(held)
	return reopenPlain(held, name)
}

// OpenPlainBeneath is [OpenPlain] for a slash-separated path. It follows
// symbolic links that stay below dirfd. A link that leads out, or is absolute,
// gives EXDEV. An error that matches [Refused] says that openat2(2) cannot be
// used here.
func OpenPlainBeneath(dirfd int, path string) (fd int, st unix.Stat_t, err error) {
	how := unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS,
	}
	held := -1
	// After any rename on the system, the kernel may return EAGAIN for a path with
	// "..".
	for range maxResolves {
		err = retry(func() (err error) {
			held, err = unix.Openat2(dirfd, path, &how)
			return err
		})
		if !errors.Is(err, unix.EAGAIN) {
			break
		}
	}
	if err != nil {
		return -1, st, pathErr("open", path, err)
	}
	defer unix.Close(held)
	return reopenPlain(held, path)
}

const maxResolves = 100

func reopenPlain(held int, name string) (fd int, st unix.Stat_t, err error) {
	if err := retry(func() error { return unix.Fstat(held, &st) }); err != nil {
		return -1, st, pathErr("fstat", name, err)
	}
	if t := st.Mode & unix.S_IFMT; t != unix.S_IFREG && t != unix.S_IFDIR {
		return -1, st, pathErr("open", name, ErrNotPlain)
	}
	err = retry(func() (err error) {
		fd, err = unix.Open(ProcFD(held), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
		return err
	})
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		err = errNoProc // the file exists, so /proc is the cause
	}
	if err != nil {
		return -1, st, pathErr("open", name, err)
	}
	return fd, st, nil
}
