package mount

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// A kernel is what an aufs mount needs of it. Tests put another one in its
// place, as today's kernels have no aufs.
type kernel struct {
	mount func(source, target, fstype string, flags uintptr, data string) error
	// magic is what statfs(2) says of an aufs.
	magic int64
}

// aufsMagic is AUFS_SUPER_MAGIC.
const aufsMagic = 0x61756673

func (mr Mounter) kernelOrReal() kernel {
	if mr.kernel != nil {
		return *mr.kernel
	}
	return kernel{mount: unix.Mount, magic: aufsMagic}
}

// aufs mounts m on dir with mount(2), or appends its branches to what is
// mounted there. The new mount API has no advantage here: it takes values of at
// most 255 bytes.
func (mr Mounter) aufs(m Mount, dir *os.File) error {
	k := mr.kernelOrReal()
	flags, target := uintptr(0), procPath(dir)
	if m.ReadOnly {
		flags = unix.MS_RDONLY
	}
	if m.isRemount() {
		// The handle means the directory below; only its path leads to the mount.
		path, err := os.Readlink(target)
		if err != nil {
			return err
		}
		root, err := openDir(path)
		if err != nil {
			return err
		}
		defer root.Close()
		if err := k.isAUFS(root); err != nil {
			return err
		}
		flags, target = flags|unix.MS_REMOUNT, procPath(root)
	}
	// The last look: what is over a limit is no error to the kernel but its end.
	if err := m.checkAUFS(); err != nil {
		return err
	}
	data := joinOptions(m.AUFS.options(m.Options))
	err := ignoringEINTR(func() error { return k.mount(m.Source, target, "aufs", flags, data) })
	return explain("mount aufs", data, err)
}

func (k kernel) isAUFS(f *os.File) error {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return explain("statfs", f.Name(), err)
	}
	if int64(st.Type) != k.magic { //nolint:unconvert // 32 bits on some architectures
		return fmt.Errorf("%w: %s is no aufs that branches could be appended to", ErrUnsupported, f.Name())
	}
	return nil
}
