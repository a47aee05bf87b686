package layerdir

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// removeAll is [os.RemoveAll] that is not kept by chattr(1) +i and +a, which
// whoever could write to a layer may have set on what is in it.
func removeAll(path string) error {
	err := os.RemoveAll(path)
	if !errors.Is(err, unix.EPERM) {
		return err
	}
	// What cannot be thawed is in the error of the second attempt.
	_ = filepath.WalkDir(path, func(path string, e fs.DirEntry, err error) error {
		if err == nil && (e.IsDir() || e.Type().IsRegular()) {
			thaw(path)
		}
		return nil
	})
	return os.RemoveAll(path)
}

// thaw takes the flags away that forbid to remove a file, or what is in a
// directory.
func thaw(path string) {
	const frozen = unix.STATX_ATTR_IMMUTABLE | unix.STATX_ATTR_APPEND // FS_IMMUTABLE_FL | FS_APPEND_FL
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return
	}
	defer f.Close()
	flags, err := unix.IoctlGetUint32(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	if err == nil && flags&frozen != 0 {
		_ = unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, int(flags&^frozen))
	}
}
