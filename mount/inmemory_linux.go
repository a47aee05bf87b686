package mount

import (
	"errors"

	"golang.org/x/sys/unix"
)

// inMemoryOptions are those of the tmpfs of [Mounter.InMemory]: a probe makes a few
// empty directories.
const inMemoryOptions = "mode=0700,size=1m"

// InMemory calls fn with an empty directory on a tmpfs, so that fn can probe what the
// kernel mounts without writing to a disk. The tmpfs is mounted over dir, an existing
// directory, in a mount namespace of fn's own: nobody else sees it, and it goes with
// the thread. fn has to use the Mounter that it is given, and no other goroutine.
// Returns an error matching [ErrUnsupported] where no such namespace or tmpfs can be
// had.
func (mr Mounter) InMemory(dir string, fn func(mr Mounter, dir string) error) error {
	return mr.inOwnNamespace(func(mr Mounter) error {
		if err := unix.Mount("layerkeep-probe", dir, "tmpfs", 0, inMemoryOptions); err != nil {
			return unsupportedBy("a tmpfs to try mounts on", explain("mount tmpfs", dir, err))
		}
		err := fn(mr, dir)
		// Whatever fn has left mounted below goes with it.
		return errors.Join(err, explain("unmount", dir, unix.Unmount(dir, unix.MNT_DETACH)))
	})
}
