package sys

import (
	"errors"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// retry calls f until no signal interrupts it.
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

// Mknodat makes a device, a fifo or an empty file. mode has the type bits.
func Mknodat(dirfd int, name string, mode uint32, dev uint64) error {
	return pathErr("mknodat", name, retry(func() error { return unix.Mknodat(dirfd, name, mode, int(dev)) }))
}

// Symlinkat makes a symbolic link to target.
func Symlinkat(target string, dirfd int, name string) error {
	return pathErr("symlinkat", name, retry(func() error { return unix.Symlinkat(target, dirfd, name) }))
}

// Linkat makes a second name for a file. It links a symbolic link itself, not
// its target.
func Linkat(olddirfd int, oldname string, newdirfd int, newname string) error {
	err := retry(func() error { return unix.Linkat(olddirfd, oldname, newdirfd, newname, 0) })
	if err != nil {
		return &os.LinkError{Op: "linkat", Old: oldname, New: newname, Err: err}
	}
	return nil
}

// Renameat2 renames a file. flags are unix.RENAME_*.
func Renameat2(olddirfd int, oldname string, newdirfd int, newname string, flags uint) error {
	err := retry(func() error {
		if flags == 0 { // old system call filters know only renameat(2)
			return unix.Renameat(olddirfd, oldname, newdirfd, newname)
		}
		return unix.Renameat2(olddirfd, oldname, newdirfd, newname, flags)
	})
	if err != nil {
		return &os.LinkError{Op: "renameat2", Old: oldname, New: newname, Err: err}
	}
	return nil
}

// Unlinkat removes a file that is not a directory.
func Unlinkat(dirfd int, name string) error {
	return pathErr("unlinkat", name, retry(func() error { return unix.Unlinkat(dirfd, name, 0) }))
}

// Rmdirat removes an empty directory.
func Rmdirat(dirfd int, name string) error {
	return pathErr("rmdir", name, retry(func() error { return unix.Unlinkat(dirfd, name, unix.AT_REMOVEDIR) }))
}

// Fstatat does lstat(2) for name in dirfd.
func Fstatat(dirfd int, name string) (unix.Stat_t, error) {
	var st unix.Stat_t
	err := retry(func() error { return unix.Fstatat(dirfd, name, &st, unix.AT_SYMLINK_NOFOLLOW) })
	return st, pathErr("fstatat", name, err)
}

// Fstat does fstat(2).
func Fstat(fd int) (unix.Stat_t, error) {
	var st unix.Stat_t
	err := retry(func() error { return unix.Fstat(fd, &st) })
	return st, pathErr("fstat", fdName(fd), err)
}

// Fchownat changes the owner of name in dirfd. For a symbolic link it changes
// the owner of the link.
func Fchownat(dirfd int, name string, uid, gid uint32) error {
	return pathErr("fchownat", name, retry(func() error {
		return unix.Fchownat(dirfd, name, int(uid), int(gid), unix.AT_SYMLINK_NOFOLLOW)
	}))
}

// Fchown changes the owner of an open file.
func Fchown(fd int, uid, gid uint32) error {
	return pathErr("fchown", fdName(fd), retry(func() error { return unix.Fchown(fd, int(uid), int(gid)) }))
}

// Fchmod changes all twelve bits of the mode of an open file.
func Fchmod(fd int, mode uint32) error {
	return pathErr("fchmod", fdName(fd), retry(func() error { return unix.Fchmod(fd, mode) }))
}

// Refused reports whether a system call may have failed because the kernel
// lacks it (ENOSYS) or a system call filter forbids it (EPERM, and EACCES with
// some filters). The caller then uses an older call. If the error had another
// cause, the older call fails too.
func Refused(err error) bool {
	return errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES)
}

// UsedUp reports whether an error only says that a resource is used up now, or
// that the disk fails. Such an error says nothing about what the machine can
// do. A probe must not treat it as a missing feature, because the result is
// remembered.
func UsedUp(err error) bool {
	for _, e := range []error{unix.ENOSPC, unix.EDQUOT, unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.EIO} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// Fchmodat changes the mode of name in dirfd. name must not be a symbolic link.
// Fchmodat does not open the file for reading, because opening a device can
// have effects. fchmodat2(2) needs Linux 6.6. On older kernels, with
// noFchmodat2, and if a system call filter refuses it (older container engines
// do not know it), Fchmodat uses an O_PATH descriptor and /proc instead.
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
		// On old kernels, chmod through /proc would follow the symbolic link.
		return pathErr("fchmodat", name, unix.EOPNOTSUPP)
	}
	return pathErr("chmod", name, retry(func() error { return unix.Chmod(ProcFD(fd), mode) }))
}

// Futimens sets the access and modification time of an open file.
func Futimens(fd int, ts *[2]unix.Timespec) error {
	return pathErr("futimens", fdName(fd), retry(func() error { return utimensat(fd, "", ts, 0) }))
}

// Utimensat sets the times of name in dirfd. For a symbolic link it sets the
// times of the link.
func Utimensat(dirfd int, name string, ts *[2]unix.Timespec) error {
	return pathErr("utimensat", name, retry(func() error {
		return utimensat(dirfd, name, ts, unix.AT_SYMLINK_NOFOLLOW)
	}))
}

// ProcFD returns the path of an open descriptor, for system calls that take
// only paths.
func ProcFD(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

func fdName(fd int) string { return "fd " + strconv.Itoa(fd) }
