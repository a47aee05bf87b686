package mount

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// makeUserNS makes a user namespace with the map, which is how the kernel takes
// one: mount_setattr(2). Nothing ever runs in it. The child that makes it is
// this very program, stopped before its first instruction and killed.
func makeUserNS(m IDMap) (*os.File, error) {
	// Who traces is a thread, and the child would run on without it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	pid, err := syscall.ForkExec("/proc/self/exe", []string{"layerkeep-idmap"}, &syscall.ProcAttr{
		Sys: &syscall.SysProcAttr{
			Cloneflags: unix.CLONE_NEWUSER, UidMappings: procRanges(m.UIDs), GidMappings: procRanges(m.GIDs),
			Ptrace: true, Pdeathsig: unix.SIGKILL,
		},
	})
	if err != nil {
		return nil, unsupportedBy("make a user namespace", noNamespace(err))
	}
	ns, err := os.Open("/proc/" + strconv.Itoa(pid) + "/ns/user")
	if err = errors.Join(err, end(pid)); err != nil {
		ns.Close() // nil is fine
		return nil, err
	}
	return ns, nil
}

func procRanges(ranges []IDRange) []syscall.SysProcIDMap {
	out := make([]syscall.SysProcIDMap, len(ranges))
	for i, r := range ranges {
		out[i] = syscall.SysProcIDMap{ContainerID: int(r.Container), HostID: int(r.Host), Size: int(r.Size)}
	}
	return out
}

// end kills a stopped child and waits for its end.
func end(pid int) error {
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		return err
	}
	for { // the first may be that it has stopped
		var status unix.WaitStatus
		err := ignoringEINTR(func() error {
			_, err := unix.Wait4(pid, &status, 0, nil)
			return err
		})
		if err != nil || status.Exited() || status.Signaled() {
			return err
		}
	}
}

// cloneTree clones what is mounted at path, nothing below it, and mounts it
// nowhere.
func cloneTree(path string) (*os.File, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return nil, explain("open_tree", path, err)
	}
	return os.NewFile(uintptr(fd), path), nil
}

// mapped clones what is mounted at path, nothing below it, read-only and with
// the owners as ns maps them, and mounts it nowhere.
func mapped(path string, ns *os.File) (*os.File, error) {
	f, err := cloneTree(path)
	if err != nil {
		return nil, err
	}
	attr := unix.MountAttr{
		Attr_set: unix.MOUNT_ATTR_IDMAP | unix.MOUNT_ATTR_RDONLY, Userns_fd: uint64(ns.Fd()), Propagation: unix.MS_PRIVATE,
	}
	if err := unix.MountSetattr(int(f.Fd()), "", unix.AT_EMPTY_PATH, &attr); err != nil {
		f.Close()
		if errors.Is(err, unix.EINVAL) { // a file system that knows no mapped mounts
			return nil, fmt.Errorf("%w: %w", ErrUnsupported, explain("mount_setattr of an ID map", path, err))
		}
		return nil, explain("mount_setattr of an ID map", path, err)
	}
	return f, nil
}

// opener returns how the lower directories of m are opened, and what to call
// when they have been used.
func (m Mount) opener() (open func(path string) (*os.File, error), done func(), err error) {
	if m.IDMap == nil {
		return openDir, func() {}, nil
	}
	ns, err := userNS(*m.IDMap)
	if err != nil {
		return nil, nil, err
	}
	return func(path string) (*os.File, error) { return mapped(path, ns) }, func() { ns.Close() }, nil
}

// detachedMapped mounts m, which has a map of IDs, nowhere. It will be mounted
// at target. There is no way with mount(2).
func (mr Mounter) detachedMapped(m Mount, target string) (*os.File, error) {
	if mr.First == WayMount2 {
		return nil, fmt.Errorf("%w: a map of IDs without the new mount API", ErrUnsupported)
	}
	f, err := mr.detachedBy(WayDescriptors, m)
	switch {
	case err == nil && (m.Type != "overlay" || !mr.noMappedLower):
		return f, nil
	case err == nil:
		err = f.Close()
	case !isRefused(err):
		return nil, err
	case m.Type != "overlay":
		return nil, fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	f, second := mr.mappedOverlay(m, target)
	if second != nil && err != nil {
		second = fmt.Errorf("%w (by descriptors: %v)", second, err) //nolint:errorlint // only the last answer counts
	}
	return f, second
}

// mappedOverlay is detachedMapped for an overlay whose lower directories the
// kernel takes by path only (before 6.13), or only from mounts that are mounted
// somewhere (before 6.15). All of them are below one, which is mounted over the
// target, in a namespace where nobody else can reach it: to whom the map gives
// the files, they would be open. They are named through its descriptor, not by
// the path of the target, which others may be able to rename.
func (mr Mounter) mappedOverlay(m Mount, target string) (f *os.File, err error) {
	for _, d := range []string{m.Overlay.Upper, m.Overlay.Work} {
		if strings.HasPrefix(d, strings.TrimSuffix(target, "/")+"/") {
			return nil, fmt.Errorf("%w: %s is below the mount point, as it may not be here with a map of IDs", ErrUnsupported, d)
		}
	}
	ns, err := userNS(*m.IDMap)
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	base := (&Overlay{Lower: m.Overlay.Lower}).base()
	tree, err := mapped(base, ns)
	if err != nil {
		return nil, err
	}
	defer tree.Close()
	below := relativeTo(base)
	overlay := *m.Overlay
	overlay.Lower = nil
	for _, l := range m.Overlay.Lower {
		overlay.Lower = append(overlay.Lower, filepath.Join(procPath(tree), below(l)))
	}
	m.Overlay, m.IDMap = &overlay, nil
	err = mr.inOwnNamespace(func(mr Mounter) (err error) {
		if err = attachAt(tree, target); err == nil {
			f, err = mr.detachedFrom(m, overlay.Lower[0])
		}
		return err
	})
	return f, err
}

func attachAt(f *os.File, target string) error {
	dir, err := openDir(target)
	if err != nil {
		return err
	}
	defer dir.Close()
	return attach(f, dir)
}

// detachedFrom mounts m nowhere, in the first way that can: with mount(2) over
// a directory, from where the mount is cloned. In a namespace of its own.
func (mr Mounter) detachedFrom(m Mount, over string) (f *os.File, err error) {
	_, err = mr.eachWay(func(w Way) error {
		if w != WayMount2 {
			f, err = mr.detachedBy(w, m)
			return err
		}
		if err = mr.over(w, m, over); err == nil {
			f, err = cloneTree(over)
		}
		return err
	})
	return f, err
}

// mountMapped is one for a mount with a map of IDs.
func (mr Mounter) mountMapped(m Mount, dir *os.File) error {
	target, err := os.Readlink(procPath(dir))
	if err != nil {
		return err
	}
	f, err := mr.detachedMapped(m, target)
	if err != nil {
		return err
	}
	defer f.Close()
	return mr.attach(f, dir)
}
