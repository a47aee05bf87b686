package mount

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

func (mr Mounter) all(ctx context.Context, mounts []Mount, target string) error {
	dir, err := openTarget(target)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := checkAll(mounts, dir); err != nil {
		return fmt.Errorf("mount on %s: %w", target, err)
	}
	for i, m := range mounts {
		if err = ctx.Err(); err == nil {
			err = mr.one(m, dir)
		}
		if err == nil {
			if err = m.checkWritable(target); err != nil {
				err = errors.Join(err, unmount(target), m.dropVolatile())
			}
		}
		if err != nil {
			for range mountsIn(mounts[:i]) {
				err = errors.Join(err, unmount(target))
			}
			return fmt.Errorf("mount %s on %s: %w", m.Type, target, err)
		}
	}
	return nil
}

// checkAll refuses what cannot be mounted on dir before any of it is.
func checkAll(mounts []Mount, dir *os.File) error {
	if err := checkList(mounts); err != nil {
		return err
	}
	path, err := os.Readlink(procPath(dir))
	if err != nil {
		return err
	}
	return checkTarget(mounts, path)
}

// one mounts m on the directory dir, whatever is mounted there already.
func (mr Mounter) one(m Mount, dir *os.File) error {
	if err := m.check(); err != nil {
		return err
	}
	if m.Type == "aufs" {
		return mr.aufs(m, dir)
	}
	if m.IDMap != nil {
		return mr.mountMapped(m, dir)
	}
	_, err := mr.eachWay(func(w Way) error { return mr.by(w, m, dir) })
	return err
}

// eachWay calls try with the ways from mr.First on until one is not refused,
// and returns that way. When all are refused the error says what each of them
// answered.
func (mr Mounter) eachWay(try func(Way) error) (Way, error) {
	var answers refusals
	for w := max(mr.First, WayDescriptors); w <= lastWay; {
		err := try(w)
		if !isRefused(err) {
			if err != nil && len(answers.errs) > 0 {
				answers.add(w, err)
				err = &answers
			}
			return w, err
		}
		answers.add(w, err)
		w = w.after(err)
	}
	return 0, &answers
}

// by mounts m on the directory dir in one way.
func (mr Mounter) by(w Way, m Mount, dir *os.File) error {
	if w == WayMount2 {
		return m.legacy(procPath(dir), mr.thread)
	}
	f, err := mr.detachedBy(w, m)
	if err != nil {
		return err
	}
	if err = errors.Join(mr.attach(f, dir), f.Close()); err == nil {
		return nil
	}
	all := errors.Join(err, m.dropVolatile())
	if isRefused(err) {
		// No other way of the new mount API can attach either.
		return &refusal{err: all, to: WayMount2}
	}
	return all
}

// over is by for the path of a directory.
func (mr Mounter) over(w Way, m Mount, path string) error {
	dir, err := openDir(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	return mr.by(w, m, dir)
}

// dropVolatile removes the mark that a volatile overlay has left, which is gone
// by now and was mounted nowhere: it would forbid the next one.
func (m Mount) dropVolatile() error {
	if m.Overlay == nil || !slices.Contains(m.Options, "volatile") {
		return nil
	}
	return os.RemoveAll(m.Overlay.Work + "/work/incompat")
}

// detached mounts m nowhere, in the first way that can.
func (mr Mounter) detached(m Mount) (f *os.File, err error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	if m.Type == "aufs" {
		return nil, fmt.Errorf("%w: aufs is mounted in several steps", ErrUnsupported)
	}
	_, err = mr.eachWay(func(w Way) error {
		f, err = mr.detachedBy(w, m)
		return err
	})
	return f, err
}

// detachedBy mounts m nowhere in one way. Returns [errOnlyMount2], a refusal,
// for WayMount2.
func (mr Mounter) detachedBy(w Way, m Mount) (*os.File, error) {
	switch {
	case w == WayMount2:
		return nil, errOnlyMount2
	case m.Type == "bind":
		return mr.detachedBind(m)
	default:
		return mr.detachedOverlay(m, w)
	}
}

// errOnlyMount2 says that mount(2) mounts at a place at once.
var errOnlyMount2 = refused(fmt.Errorf("%w: mount(2) needs a directory to mount on", ErrUnsupported))

// attach mounts on dir what is mounted nowhere yet.
func (mr Mounter) attach(f, dir *os.File) error {
	if err := mr.played("move_mount"); err != nil {
		return refusedCall(explain("move_mount", "the mount point", err))
	}
	return refusedCall(attach(f, dir))
}

func attach(f, dir *os.File) error {
	err := ignoringEINTR(func() error {
		return unix.MoveMount(int(f.Fd()), "", int(dir.Fd()), "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
	})
	return explain("move_mount", "the mount point", err)
}

// openTarget opens a directory that is no mount point yet.
func openTarget(target string) (*os.File, error) {
	f, err := openDir(target)
	if err != nil {
		return nil, err
	}
	mounted, err := isMountRoot(f)
	if err == nil && mounted {
		err = fmt.Errorf("%s: %w: is a mount point already", target, ErrBusy)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// openDir opens a directory as a mere handle (O_PATH).
func openDir(path string) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, explain("open", path, err)
	}
	return os.NewFile(uintptr(fd), path), nil
}

func isMountRoot(f *os.File) (bool, error) {
	var stx unix.Statx_t
	err := unix.Statx(int(f.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_BASIC_STATS, &stx)
	if err == nil && stx.Attributes_mask&unix.STATX_ATTR_MOUNT_ROOT != 0 {
		return stx.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0, nil
	}
	// Before Linux 5.8 only the mount table tells.
	path, err := os.Readlink(procPath(f))
	if err != nil {
		return false, err
	}
	return mountinfo.Mounted(path)
}

func unmount(target string) error {
	err := ignoringEINTR(func() error { return unix.Unmount(target, unix.UMOUNT_NOFOLLOW) })
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EINVAL):
		return fmt.Errorf("unmount %s: %w", target, ErrNotMounted)
	default:
		return explain("unmount", target, err)
	}
}

// detach unmounts as soon as nobody uses it, and hides the mount at once.
func detach(target string) error {
	return explain("detach", target, ignoringEINTR(func() error { return unix.Unmount(target, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH) }))
}

// procPath is a short name of an open file that needs no escaping and cannot
// be redirected by renames.
func procPath(f *os.File) string { return "/proc/self/fd/" + strconv.Itoa(int(f.Fd())) }

// explain wraps a system error with its path, and with this package's sentinel
// where there is one.
func explain(op, path string, err error) error {
	if err == nil {
		return nil
	}
	pe := &os.PathError{Op: op, Path: path, Err: err}
	switch {
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("%w: %w", ErrBusy, pe)
	case errors.Is(err, unix.ENOTDIR):
		return fmt.Errorf("%w: %w", ErrNotDirectory, pe)
	case errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EPERM):
		return fmt.Errorf("%w: %w", ErrUnsupported, pe)
	}
	return pe
}

func ignoringEINTR(fn func() error) error {
	for {
		if err := fn(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
