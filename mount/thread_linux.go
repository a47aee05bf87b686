package mount

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

const (
	anyThread thread = false
	ownThread thread = true
)

// onOwnThread calls fn on a thread that has a working directory of its own and,
// with CLONE_NEWNS, a mount namespace of its own. The thread is not used again:
// a goroutine that ends locked takes its thread with it. It is not the main
// thread, which does not end, and whose directory and mounts /proc/self shows.
func onOwnThread(unshare int, fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			done <- onOwnThread(unshare, fn) // while this one is taken
			runtime.UnlockOSThread()
			return
		}
		if err := unix.Unshare(unix.CLONE_FS | unshare); err != nil {
			done <- refusedCall(explain("unshare", "", noNamespace(err)))
			return
		}
		done <- fn()
	}()
	return <-done
}

// noNamespace translates what the kernel says when the limits under
// /proc/sys/user allow no further namespace, which hardened machines set to 0.
// ENOSPC would be taken for a full disk, which says nothing of what the machine
// can do. Kernels before 4.9 say EUSERS.
func noNamespace(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EUSERS) {
		return fmt.Errorf("no more namespaces are allowed, see user.max_user_namespaces and user.max_mnt_namespaces in namespaces(7): %w", unix.EPERM)
	}
	return err
}

// inDirectory calls fn on a thread whose working directory is dir.
func (th thread) inDirectory(dir string, fn func() error) error {
	if th == anyThread {
		return onOwnThread(0, func() error { return ownThread.inDirectory(dir, fn) })
	}
	if err := unix.Chdir(dir); err != nil {
		return explain("chdir", dir, err)
	}
	err := fn()
	// The thread may live on for a moment, and would keep dir's file system busy.
	return errors.Join(err, unix.Chdir("/"))
}

// inOwnNamespace calls fn on a thread with a mount namespace of its own: nobody
// else can reach what fn mounts, and all of it goes with the thread, also when
// this process is killed. A mount of which a descriptor is open lives on by
// that.
func (mr Mounter) inOwnNamespace(fn func(mr Mounter) error) error {
	if mr.thread == ownThread { // it has one already, in which fn may need what is mounted
		return fn(mr)
	}
	if err := mr.played("unshare"); err != nil {
		return refusedCall(explain("unshare", "", noNamespace(err)))
	}
	mr.thread = ownThread
	before, err := os.Open("/proc/thread-self/ns/mnt")
	if err != nil {
		return refused(err)
	}
	defer before.Close()
	return onOwnThread(unix.CLONE_NEWNS, func() error {
		// Going back ends the namespace, which has a copy of every mount. Where it
		// fails the end of the thread does that, a moment later.
		defer unix.Setns(int(before.Fd()), unix.CLONE_NEWNS) //nolint:errcheck // see above
		// Else what is mounted here would be mounted there as well.
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return refused(fmt.Errorf("in a new mount namespace: %w", explain("make mounts private", "/", err)))
		}
		return fn(mr)
	})
}
