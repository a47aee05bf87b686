package sys

import (
	"errors"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// retry calls f until it is not interrupted by a signal.
func retry(f func() error) error {
	for {
		err := f()
		if err != unix.EINTR { //nolint:errorlint // f returns bare errnos, and this is the hot path
			return err
		}
	}
}

func pathErr(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &os.PathError{Op: op, Path: name, Err: err}
}

// Openat opens name in dirfd. O_CLOEXEC and O_NOFOLLOW are always added.
func Openat(dirfd int, name string, flags int, perm uint32) (int, error) {
	for {
		fd, err := unix.Openat(dirfd, name, flags|unix.O_CLOEXEC|unix.O_NOFOLLOW, perm)
		if err == nil {
			return fd, nil
		}
		if err != unix.EINTR {
			return -1, pathErr("openat", name, err)
		}
	}
}

// OpenDirat opens the directory name in dirfd for reading.
func OpenDirat(dirfd int, name string) (int, error) {
	return Openat(dirfd, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
}

// Mkdirat makes a directory.
func Mkdirat(dirfd int, name string, perm uint32) error {
	return pathErr("mkdirat", name, retry(func() error { return unix.Mkdirat(dirfd, name, perm) }))
}

// Mknodat makes a device, fifo or empty file; mode holds the type bits.
func Mknodat(dirfd int, name string, mode uint32, dev uint64) error {
	return pathErr("mknodat", name, retry(func() error { return unix.Mknodat(dirfd, name, mode, int(dev)) }))
}

// Symlinkat makes a symbolic link to target.
func Symlinkat(target string, dirfd int, name string) error {
	return pathErr("symlinkat", name, retry(func() error { return unix.Symlinkat(target, dirfd, name) }))
}

// Linkat makes a second name for a file; a symbolic link is linked itself.
func Linkat(olddirfd int, oldname string, newdirfd int, newname string) error {
	err := retry(func() error { return unix.Linkat(olddirfd, oldname, newdirfd, newname, 0) })
	if err != nil {
		return &os.LinkError{Op: "linkat", Old: oldname, New: newname, Err: err}
	}
	return nil
}

// Renameat2 renames; flags are unix.RENAME_*.
func Renameat2(olddirfd int, oldname string, newdirfd int, newname string, flags uint) error {
	err := retry(func() error {
		if flags == 0 { // the older call, which old filters of system calls know
			return unix.Renameat(olddirfd, oldname, newdirfd, newname)
		}
		return unix.Renameat2(olddirfd, oldname, newdirfd, newname, flags)
	})
	if err != nil {
		return &os.LinkError{Op: "renameat2", Old: oldname, New: newname, Err: err}
	}
	return nil
}

// Unlinkat removes a name that is no directory.
func Unlinkat(dirfd int, name string) error {
	return pathErr("unlinkat", name, retry(func() error { return unix.Unlinkat(dirfd, name, 0) }))
}

// Rmdirat removes an empty directory.
func Rmdirat(dirfd int, name string) error {
	return pathErr("rmdir", name, retry(func() error { return unix.Unlinkat(dirfd, name, unix.AT_REMOVEDIR) }))
}

// Fstatat is lstat(2) of name in dirfd.
func Fstatat(dirfd int, name string) (unix.Stat_t, error) {
	var st unix.Stat_t
	err := retry(func() error { return unix.Fstatat(dirfd, name, &st, unix.AT_SYMLINK_NOFOLLOW) })
	return st, pathErr("fstatat", name, err)
}

// Fstat is fstat(2).
func Fstat(fd int) (unix.Stat_t, error) {
	var st unix.Stat_t
	err := retry(func() error { return unix.Fstat(fd, &st) })
	return st, pathErr("fstat", fdName(fd), err)
}

// Fchownat changes the owner of name in dirfd, of a symbolic link too.
func Fchownat(dirfd int, name string, uid, gid uint32) error {
	return pathErr("fchownat", name, retry(func() error {
		return unix.Fchownat(dirfd, name, int(uid), int(gid), unix.AT_SYMLINK_NOFOLLOW)
	}))
}

// Fchown changes the owner of an open file.
func Fchown(fd int, uid, gid uint32) error {
	return pathErr("fchown", fdName(fd), retry(func() error { return unix.Fchown(fd, int(uid), int(gid)) }))
}

// Fchmod changes the mode, all twelve bits, of an open file.
func Fchmod(fd int, mode uint32) error {
	return pathErr("fchmod", fdName(fd), retry(func() error { return unix.Fchmod(fd, mode) }))
}

// Refused reports whether a system call can have failed because the kernel
// lacks it (ENOSYS) or a filter of system calls forbids it (EPERM, and EACCES
// with some filters). The older way decides then; it fails alike where that was
// not why.
func Refused(err error) bool {
	return errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES)
}

// UsedUp reports whether an error says nothing of what the machine can do, only
// that something is used up now, or that the disk fails. Taken for a missing
// feature, it would be remembered as one.
func UsedUp(err error) bool {
	for _, e := range []error{unix.ENOSPC, unix.EDQUOT, unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.EIO} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// Fchmodat changes the mode of name in dirfd, which is no symbolic link,
// without opening it for reading: opening a device can have effects.
// fchmodat2(2) needs Linux 6.6; before, with noFchmodat2, and where a filter of
// system calls refuses it (older container engines do not know it), an O_PATH
// descriptor and /proc do it.
func Fchmodat(dirfd int, name string, mode uint32, noFchmodat2 bool) error {
	if !noFchmodat2 {
		err := retry(func() error { return unix.Fchmodat(dirfd, name, mode, unix.AT_SYMLINK_NOFOLLOW) })
		if !Refused(err) && !errors.Is(err, unix.EOPNOTSUPP) {
			return pathErr("fchmodat2", name, err)
		}
	}
	fd, err := Openat(dirfd, name, unix.O_PATH, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	st, err := Fstat(fd)
	if err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFLNK {
		// chmod of a magic link would follow the symbolic link on old kernels.
		return pathErr("fchmodat", name, unix.EOPNOTSUPP)
	}
	return pathErr("chmod", name, retry(func() error { return unix.Chmod(ProcFD(fd), mode) }))
}

// Futimens sets access and modification time of an open file.
func Futimens(fd int, ts *[2]unix.Timespec) error {
	return pathErr("futimens", fdName(fd), retry(func() error { return utimensat(fd, "", ts, 0) }))
}

// Utimensat sets the times of name in dirfd, of a symbolic link too.
func Utimensat(dirfd int, name string, ts *[2]unix.Timespec) error {
	return pathErr("utimensat", name, retry(func() error {
		return utimensat(dirfd, name, ts, unix.AT_SYMLINK_NOFOLLOW)
	}))
}

// ProcFD names an open descriptor as a path, for calls that take no descriptor.
func ProcFD(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

func fdName(fd int) string { return "fd " + strconv.Itoa(fd) }
