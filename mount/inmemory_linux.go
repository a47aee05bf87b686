package mount

import (
	"errors"

	"golang.org/x/sys/unix"
)

// inMemoryOptions are those of the tmpfs of [Mounter.InMemory]: a probe makes a
// few empty directories.
const inMemoryOptions = "mode=0700,size=1m"

// InMemory calls fn with an empty directory on a tmpfs, so that fn can probe
// the kernel without writing to a disk. Dir is an existing directory. The tmpfs
// is mounted over it in a mount namespace of one thread; it disappears with the
// thread. fn must use the Mounter that it gets, and must work in the goroutine
// that calls it.
//
// InMemory returns an error that matches [ErrUnsupported] when it cannot get
// such a namespace or tmpfs.
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
