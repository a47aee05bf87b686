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
	// ErrBusy: the target is a mount point already, or what is mounted there is
	// in use.
	ErrBusy = errors.New("busy")
	// ErrNotDirectory: the target, or a directory named by the mount, is missing
	// its directory: it is a file, a symbolic link or a device.
	ErrNotDirectory = errors.New("not a directory")
	// ErrUnsupported: this kernel, or this user, cannot do it.
	ErrUnsupported = errors.New("mount not supported here")
	// ErrTooLong: the options do not fit into one page, and the kernel has no
	// other way to take them.
	ErrTooLong = errors.New("mount options too long")
	// ErrNotMounted: nothing is mounted at the target.
	ErrNotMounted = errors.New("not mounted")
)

// A Mounter carries out mounts. It tries the system interfaces in the order of
// [Way], each as it will be used, until one is not refused: which of them work
// depends on the kernel and on what filters system calls. The functions of this
// package are the methods of the zero value.
type Mounter struct {
	// First is the first way to try; those before it are left out. For tests;
	// zero tries all.
	First Way

	kernel *kernel // nil for the real one
	// call, when set, is asked before each system call of the new mount API, by a
	// name such as "fsopen" or "descriptor lowerdir+". The error that it returns
	// takes the place of the kernel's answer: tests play older kernels with it.
	call func(name string) error
	// thread is where this Mounter is used.
	thread thread
	// noMappedLower mounts overlays with mapped lower directories the older way, for tests.
	noMappedLower bool
}

// A thread says whether a goroutine has its thread for itself, so that it can change
// what belongs to a thread.
type thread bool

// All mounts mounts at target, each over the one before, an aufs and its remounts
// being one. Nothing stays mounted
// after an error. The target must be a directory, and no mount point: see
// [ErrNotDirectory] and [ErrBusy]. It is resolved once, symbolic links included.
func All(ctx context.Context, mounts []Mount, target string) error {
	return Mounter{}.All(ctx, mounts, target)
}

// Unmount unmounts what is mounted at target, never lazily. Returns [ErrBusy]
// when it is in use and [ErrNotMounted] when target is no mount point.
func Unmount(target string) error { return unmount(target) }

// Detached mounts m nowhere: the descriptor is the root of a mount that lives until
// the last descriptor into it is closed. Returns an error matching
// [ErrUnsupported] for an aufs, and where only mount(2) can do it (overlays
// before Linux 6.7, binds before 5.12).
func Detached(m Mount) (*os.File, error) { return Mounter{}.detached(m) }

// WithTemp mounts mounts on a new temporary directory, which only this user can
// reach, calls fn with it and unmounts again, also after an error of fn.
func WithTemp(ctx context.Context, mounts []Mount, fn func(root string) error) error {
	return Mounter{}.WithTemp(ctx, mounts, fn)
}

// All is [All] with this Mounter's way of mounting.
func (mr Mounter) All(ctx context.Context, mounts []Mount, target string) error {
	return mr.all(ctx, mounts, target)
}

// WithTemp is [WithTemp] with this Mounter's way of mounting.
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
