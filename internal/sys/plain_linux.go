package sys

import (
	"errors"

	"golang.org/x/sys/unix"
)

// ErrNotPlain says that something is neither a regular file nor a directory.
var ErrNotPlain = errors.New("neither a regular file nor a directory")

var errNoProc = errors.New("/proc is not mounted here, or hidden")

// OpenPlain opens a regular file or directory for reading, as it stands when
// the call looks at it, and returns its attributes. Anything else is never
// opened, whoever swaps what the name is of meanwhile: a device can act on
// being opened, and a fifo can wait. The error matches [ErrNotPlain] then. A
// symbolic link is not followed.
//
// A descriptor with O_PATH holds on to what is there without opening it, and
// the name that it has in /proc leads to just that.
func OpenPlain(dirfd int, name string) (fd int, st unix.Stat_t, err error) {
	held, err := Openat(dirfd, name, unix.O_PATH, 0)
	if err != nil {
		return -1, st, err
	}
	defer unix.Close(held)
	return reopenPlain(held, name)
}

// OpenPlainBeneath is [OpenPlain] for a slash-separated path, whose symbolic
// links are followed as long as they stay beneath dirfd: one that leads out of
// it, or is absolute, gives EXDEV. An error matching [Refused] says that
// openat2(2) cannot be used here.
func OpenPlainBeneath(dirfd int, path string) (fd int, st unix.Stat_t, err error) {
	how := unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS,
	}
	held := -1
	for range maxResolves { // a rename anywhere makes the kernel unsure of a path with ".."
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
		err = errNoProc // the file is there
	}
	if err != nil {
		return -1, st, pathErr("open", name, err)
	}
	return fd, st, nil
}
