package mount

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// userNS makes a user namespace with the map, which is how the kernel takes one:
// mount_setattr(2). Nothing ever runs in it. The child that makes it is this very
// program, stopped before its first instruction and killed.
func userNS(m IDMap) (*os.File, error) {
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
		return nil, fmt.Errorf("%w: make a user namespace: %w", ErrUnsupported, err)
	}
	ns, err := os.Open("/proc/" + strconv.Itoa(pid) + "/ns/user")
	return ns, errors.Join(err, end(pid))
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

// mapped clones what is mounted at path, nothing below it, with the owners as
// ns maps them, and mounts it nowhere.
func mapped(path string, ns *os.File) (*os.File, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return nil, explain("open_tree", path, err)
	}
	f := os.NewFile(uintptr(fd), path)
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(ns.Fd()), Propagation: unix.MS_PRIVATE}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		f.Close()
		if errors.Is(err, unix.EINVAL) { // a file system that knows no mapped mounts
			return nil, fmt.Errorf("%w: %w", ErrUnsupported, explain("mount_setattr of an ID map", path, err))
		}
		return nil, explain("mount_setattr of an ID map", path, err)
	}
	return f, nil
}

// opener returns how the lower directories of m are opened, and what to call when
// they have been used.
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

// mappedOverlay mounts an overlay whose lower directories the kernel takes by
// path only (before 6.13), or only from mounts that are mounted somewhere (before
// 6.15): all of them are below one, which is there as long as that takes.
func (mr Mounter) mappedOverlay(m Mount, dir *os.File) (err error) {
	ns, err := userNS(*m.IDMap)
	if err != nil {
		return err
	}
	defer ns.Close()
	base := (&Overlay{Lower: m.Overlay.Lower}).base()
	tree, err := mapped(base, ns)
	if err != nil {
		return err
	}
	defer tree.Close()
	temp, err := os.MkdirTemp("", "layerkeep-idmap-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(temp)) }()
	at, err := openDir(temp)
	if err != nil {
		return err
	}
	err = attach(tree, at)
	at.Close()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unix.Unmount(temp, unix.MNT_DETACH)) }()
	below := relativeTo(base)
	overlay := *m.Overlay
	overlay.Lower = nil
	for _, l := range m.Overlay.Lower {
		overlay.Lower = append(overlay.Lower, filepath.Join(temp, below(l)))
	}
	m.Overlay, m.IDMap = &overlay, nil
	return mr.one(m, dir)
}

// mountMapped is one for a mount with a map of IDs. There is no way with mount(2).
func (mr Mounter) mountMapped(m Mount, dir *os.File) error {
	if mr.First == WayMount2 {
		return fmt.Errorf("%w: a map of IDs without the new mount API", ErrUnsupported)
	}
	f, err := mr.detachedBy(WayDescriptors, m)
	switch {
	case err == nil && !mr.noMappedLower:
		defer f.Close()
		return mr.attach(f, dir)
	case err == nil:
		err = f.Close()
	case !isRefused(err):
		return err
	case m.Type != "overlay":
		return fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	if second := mr.mappedOverlay(m, dir); second != nil {
		return errors.Join(second, err)
	}
	return nil
}
