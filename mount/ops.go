package mount

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"
)

// Errors of this package; match them with [errors.Is].
var (
	// ErrBusy: the target is already a mount point, or the mount to remove is
	// in use.
	ErrBusy = errors.New("busy")
	// ErrNotDirectory: the target, or a directory that the mount names, is a
	// file, a symbolic link or a device.
	ErrNotDirectory = errors.New("not a directory")
	// ErrUnsupported: this kernel or this user cannot do it.
	ErrUnsupported = errors.New("mount not supported here")
	// ErrTooLong: the options do not fit into one page, and this kernel has no
	// other way to take them.
	ErrTooLong = errors.New("mount options too long")
	// ErrNotMounted: nothing is mounted on the target.
	ErrNotMounted = errors.New("not mounted")
)

// A Mounter makes mounts. It tries the system interfaces in the order of [Way],
// until one works. Which of them work depends on the kernel and on filters of
// system calls. The functions of this package use the zero Mounter.
type Mounter struct {
	// First is the first way to try; ways before it are left out. Zero tries
	// all. For tests.
	First Way

	kernel *kernel // nil for the real one
	// call, when set, is asked before each system call of the new mount API, by a
	// name such as "fsopen" or "descriptor lowerdir+". The error that it returns
	// takes the place of the kernel's answer: tests play older kernels with it.
	call func(name string) error
	// thread is where this Mounter is used.
	thread thread
	// noMappedLower mounts overlays with mapped lower directories the older way,
	// for tests.
	noMappedLower bool
}

// A thread says whether a goroutine has its thread for itself, so that it can
// change what belongs to a thread.
type thread bool

// All mounts every value of mounts on target, each over the one before. An aufs
// mount and its remounts count as one. After an error nothing stays mounted.
//
// The target must be a directory that is not yet a mount point; All returns
// [ErrNotDirectory] or [ErrBusy] otherwise. All resolves the target once,
// including symbolic links.
func All(ctx context.Context, mounts []Mount, target string) error {
	return Mounter{}.All(ctx, mounts, target)
}

// Unmount removes the mount on target, never lazily. It returns [ErrBusy] when
// the mount is in use, and [ErrNotMounted] when target is not a mount point.
func Unmount(target string) error { return unmount(target) }

// Detached makes a mount that is on no directory. The returned descriptor is
// its root. The mount exists until the last descriptor into it is closed.
//
// Detached returns an error that matches [ErrUnsupported] for aufs, and where
// the kernel offers only mount(2): overlays before Linux 6.7, binds before
// 5.12.
func Detached(m Mount) (*os.File, error) { return Mounter{}.detached(m) }

// WithTemp mounts every value of mounts on a new temporary directory, calls fn
// with its path, and unmounts it again, also after an error of fn. Only this
// user can reach the directory.
func WithTemp(ctx context.Context, mounts []Mount, fn func(root string) error) error {
	return Mounter{}.WithTemp(ctx, mounts, fn)
}

// All is the function [All] with this Mounter.
func (mr Mounter) All(ctx context.Context, mounts []Mount, target string) error {
	return mr.all(ctx, mounts, target)
}

// WithTemp is the function [WithTemp] with this Mounter.
func (mr Mounter) WithTemp(ctx context.Context, mounts []Mount, fn func(root string) error) (err error) {
	private, err := os.MkdirTemp("", "layerkeep-mount-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(private)) }()
	// What is mounted hides the mode of the directory that it is mounted on.
	dir := filepath.Join(private, "root")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(dir)) }()
	if err := mr.All(ctx, mounts, dir); err != nil {
		return err
	}
	defer func() {
		for range mountsIn(mounts) {
			err = errors.Join(err, unmountOwn(dir))
		}
	}()
	return fn(dir)
}

// patience bounds how long unmountOwn tries.
const patience = time.Second

// unmountOwn unmounts what nobody but this process uses. A child that another
// goroutine forks holds copies of all descriptors until it starts its program,
// and the mount is busy that long.
func unmountOwn(target string) error {
	for wait := time.Millisecond; ; wait *= 2 {
		err := Unmount(target)
		switch {
		case err == nil, errors.Is(err, ErrNotMounted), errors.Is(err, ErrBusy) && wait > patience:
			return err
		case !errors.Is(err, ErrBusy):
			return errors.Join(err, detach(target)) // nobody else knows of it
		}
		time.Sleep(wait)
	}
}
