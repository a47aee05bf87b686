package mount

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// MakeReadOnlyFor makes one mount in the mount namespace of another process
// read-only. Target is the path that the process has for it in its mount table.
// Other mounts of the same files stay as they are.
//
// The error matches fs.ErrNotExist when the process or the mount no longer
// exists, and EBUSY when a file of the mount is open for writing.
func MakeReadOnlyFor(pid int, target string) error {
	process := filepath.Join("/proc", strconv.Itoa(pid))
	namespace, err := os.Open(process + "/ns/mnt")
	if err != nil {
		return err
	}
	defer namespace.Close()
	dir, err := openDir(process + "/root" + target)
	if err != nil {
		return err
	}
	defer dir.Close()
	own, err := os.Open("/proc/thread-self/ns/mnt")
	if err != nil {
		return err
	}
	defer own.Close()
	err = onOwnThread(0, func() error {
		if err := unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNS); err != nil {
			return explain("setns", namespace.Name(), err)
		}
		// The thread ends soon; until then it would keep the namespace.
		defer unix.Setns(int(own.Fd()), unix.CLONE_NEWNS) //nolint:errcheck // see above
		// The directory may have no path there any more, and there may be no /proc.
		if err := unix.Fchdir(int(dir.Fd())); err != nil {
			return explain("chdir", target, err)
		}
		return explain("remount read-only", target, remountReadOnly(".", "."))
	})
	if err != nil {
		return fmt.Errorf("in the mount namespace of process %d: %w", pid, err)
	}
	return nil
}
