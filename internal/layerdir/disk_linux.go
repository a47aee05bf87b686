package layerdir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/rootfd"
	"github.com/layerkeep/layerkeep/internal/sys"
)

// renameNew renames a directory to a name that does not exist yet.
func renameNew(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || sys.Refused(err) {
		// The file system does not know the flag, or a seccomp filter blocks the call.
		// A plain rename also fails if the target is a layer, because a layer is never
		// an empty directory.
		err = unix.Rename(from, to)
		if errors.Is(err, unix.ENOTEMPTY) {
			err = unix.EEXIST
		}
	}
	if err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return nil
}

// unmountBelow unmounts everything that is mounted below a directory. Such
// mounts are left by a process that was killed while it probed what can be
// mounted.
func unmountBelow(dir string) error {
	left, err := mountsBelow(dir)
	if err != nil {
		return err
	}
	for _, m := range slices.Backward(left) { // the last one mounted first
		if err := unix.Unmount(m.Mountpoint, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
			return &os.PathError{Op: "unmount", Path: m.Mountpoint, Err: err}
		}
	}
	return nil
}

// mountsBelow lists the mounts below a directory in this mount namespace,
// oldest first. It returns nothing for a directory that is missing or is a
// symbolic link.
func mountsBelow(dir string) ([]*mountinfo.Info, error) {
	parent, err := filepath.EvalSymlinks(filepath.Dir(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	below := filepath.Join(parent, filepath.Base(dir)) + "/"
	return mounts(func(m *mountinfo.Info) (skip, stop bool) {
		return !strings.HasPrefix(m.Mountpoint, below), false
	})
}

// NothingMountedBelow returns [driver.ErrBusy] if something is mounted below a
// directory. The mount was made by another program, and what it shows must not
// be deleted with the layer.
func NothingMountedBelow(dir string) error {
	found, err := mountsBelow(dir)
	if err == nil && len(found) > 0 {
		err = fmt.Errorf("%w: something is mounted on %s", driver.ErrBusy, found[0].Mountpoint)
	}
	return err
}

// SyncFS writes everything on the file system of path to disk.
func SyncFS(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return &os.PathError{Op: "syncfs", Path: path, Err: err}
	}
	return nil
}

// Usage counts what the tree at path takes, including path itself.
func Usage(ctx context.Context, path string) (driver.Usage, error) {
	return UsageWithout(ctx, path)
}

// UsageWithout is Usage, but skips the children of path that have the given
// names.
func UsageWithout(ctx context.Context, path string, without ...string) (driver.Usage, error) {
	return usage(ctx, path, without, func(*rootfd.Dir, string) error { return nil })
}

// UsageVisiting is Usage, and calls visit for every file on the way with its
// directory and its name. For path itself the name is empty.
func UsageVisiting(ctx context.Context, path string, visit func(dir *rootfd.Dir, name string) error) (driver.Usage, error) {
	return usage(ctx, path, nil, visit)
}

func usage(ctx context.Context, path string, without []string, visit func(dir *rootfd.Dir, name string) error) (driver.Usage, error) {
	d, err := rootfd.Open(path, rootfd.Options{})
	if err != nil {
		return driver.Usage{}, err
	}
	defer d.Close()
	w := usageWalk{seen: map[[2]uint64]bool{}, visit: visit}
	st, err := d.Stat()
	if err == nil {
		w.add(st)
		err = visit(d, "")
	}
	if err != nil {
		return driver.Usage{}, err
	}
	err = w.dir(ctx, d, without)
	return w.usage, err
}

type usageWalk struct {
	usage driver.Usage
	seen  map[[2]uint64]bool // files with several names that were already counted
	visit func(dir *rootfd.Dir, name string) error
}

func (w *usageWalk) add(st rootfd.Stat) {
	if st.Nlink > 1 && !st.IsDir() {
		key := [2]uint64{st.Dev, st.Ino}
		if w.seen[key] {
			return
		}
		w.seen[key] = true
	}
	w.usage.Inodes++
	w.usage.Bytes += st.Blocks * 512
}

func (w *usageWalk) dir(ctx context.Context, d *rootfd.Dir, without []string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	names, err := d.Names()
	if err != nil {
		return err
	}
	for _, name := range names {
		if slices.Contains(without, name) {
			continue
		}
		st, err := d.Lookup(name)
		if errors.Is(err, unix.ENOENT) {
			continue // a program may be writing to the layer and have removed it
		}
		if err != nil {
			return err
		}
		w.add(st)
		if err := w.visit(d, name); err != nil {
			return err
		}
		if !st.IsDir() {
			continue
		}
		sub, err := d.OpenDir(name)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return err
		}
		err = w.dir(ctx, sub, nil)
		sub.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// A Use says how a layer is mounted.
type Use uint8

// The uses, from weakest to strongest.
const (
	Unmounted Use = iota
	MountedReadOnly
	MountedWritable
)

// Mounted reports how the layer is mounted in this mount namespace. It counts a
// bind mount of one of the layer's directories, an overlay or aufs that has the
// layer's path as its source, and an overlay whose upper directory is in the
// layer.
func (s *Store) Mounted(id driver.ID) (Use, error) {
	path := s.Path(id)
	use := Unmounted
	var failed error
	_, err := mounts(func(m *mountinfo.Info) (skip, stop bool) {
		is, err := isMountOf("", m, path)
		if !is || err != nil {
			failed = errors.Join(failed, err)
			return true, false
		}
		use = useOf(m)
		return true, use == MountedWritable
	})
	return use, errors.Join(err, failed)
}

func useOf(m *mountinfo.Info) Use {
	if isReadOnly(m.Options) || isUnion(m) && isReadOnly(m.VFSOptions) {
		return MountedReadOnly
	}
	return MountedWritable
}

func isReadOnly(options string) bool {
	return options == "ro" || strings.HasPrefix(options, "ro,")
}

// isUnion reports whether the mount is an overlay or an aufs. The source of
// such a mount is only a name, not a device.
func isUnion(m *mountinfo.Info) bool { return m.FSType == "overlay" || m.FSType == "aufs" }

// isMountOf reports whether m is a mount of the layer at path. root is the root
// directory of the process in whose mount table m is. The result is false for a
// mount that cannot be reached because another mount covers it.
func isMountOf(root string, m *mountinfo.Info, path string) (bool, error) {
	if isUnion(m) {
		return m.Source == Label(path) || strings.Contains(","+m.VFSOptions, ",upperdir="+path+"/"), nil
	}
	// m.Root is relative to the file system, which may be mounted anywhere. The
	// part after the layer's name is relative to the layer.
	name := path[strings.LastIndex(path, "/"):] + "/"
	i := strings.LastIndex(m.Root, name)
	if i < 0 {
		return false, nil
	}
	rel := m.Root[i+len(name)-1:]
	mounted, err := os.Stat(root + m.Mountpoint)
	if err == nil {
		var ours os.FileInfo
		if ours, err = os.Stat(path + rel); err == nil {
			return os.SameFile(mounted, ours), nil
		}
	}
	if outOfReach(err) {
		return false, nil
	}
	return false, err
}

// outOfReach reports whether err means that this process cannot reach a path,
// or that the server behind its file system does not answer.
func outOfReach(err error) bool {
	for _, errno := range []unix.Errno{unix.ENOENT, unix.ENOTDIR, unix.EACCES, unix.EPERM, unix.ENOTCONN, unix.ESTALE, unix.ESRCH, unix.ELOOP, unix.ENAMETOOLONG} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// UserNS reports whether this process is root only of a user namespace, where
// it cannot make device nodes. It finds out by making one in dir.
func UserNS(dir string) (bool, error) {
	path := dir + "/.device"
	err := unix.Mknod(path, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3)))
	switch {
	case err == nil:
		err = unix.Unlink(path)
	case errors.Is(err, unix.EPERM):
		return true, nil
	case cannot(err): // the file system has no device nodes, not even for root
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("make a device node: %w", err)
	}
	return false, nil
}

// cannot reports whether err means that a probed call does not work here, and
// not that the probe itself failed.
func cannot(err error) bool {
	return sys.Refused(err) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL)
}
