package aufstest

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// copyFile copies a file that is no directory with its attributes: what the
// module's cpup.c does.
func copyFile(from hit, to string) error { return copyNode(from, to, hasValue) }

// copyNode copies a file that is no directory, with those of its extended
// attributes whose values keep accepts.
func copyNode(from hit, to string, keep func(value []byte) bool) error {
	var err error
	switch from.st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		err = copyBody(from.path, to)
	case unix.S_IFLNK:
		var target string
		if target, err = os.Readlink(from.path); err == nil {
			err = os.Symlink(target, to)
		}
	default:
		err = unix.Mknod(to, from.st.Mode, int(from.st.Rdev))
	}
	if err != nil {
		return fmt.Errorf("copy up %s: %w", from.path, err)
	}
	return copyAttributes(from.path, to, keep)
}

// hasValue keeps the extended attributes that copy-up keeps: the module takes
// "no bytes" for "no attribute".
func hasValue(value []byte) bool { return len(value) > 0 }

// anyValue keeps all.
func anyValue([]byte) bool { return true }

func copyBody(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	return out.Close()
}

// copyAttributes gives to the owner, extended attributes, mode and times of
// from.
func copyAttributes(from, to string, keep func(value []byte) bool) error {
	var st unix.Stat_t
	if err := unix.Lstat(from, &st); err != nil {
		return err
	}
	if err := unix.Lchown(to, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	if err := copyXattrs(from, to, keep); err != nil {
		return fmt.Errorf("attributes of %s: %w", to, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		if err := unix.Chmod(to, st.Mode&0o7777); err != nil {
			return err
		}
	}
	return unix.UtimesNanoAt(unix.AT_FDCWD, to, []unix.Timespec{st.Atim, st.Mtim}, unix.AT_SYMLINK_NOFOLLOW)
}

func copyXattrs(from, to string, keep func(value []byte) bool) error {
	list := make([]byte, 1<<16)
	n, err := unix.Llistxattr(from, list)
	if errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	if err != nil {
		return err
	}
	value := make([]byte, 1<<16)
	for name := range strings.SplitSeq(string(list[:n]), "\x00") {
		if name == "" || name == "security.selinux" || strings.HasPrefix(name, "trusted.SGI_ACL_") || strings.HasPrefix(name, "btrfs.") {
			continue
		}
		n, err := unix.Lgetxattr(from, name, value)
		if err != nil {
			return err
		}
		if !keep(value[:n]) {
			continue
		}
		if err := unix.Lsetxattr(to, name, value[:n], 0); err != nil {
			return err
		}
	}
	return nil
}
