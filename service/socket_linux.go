package service

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// lockPatience is how long another process may take to make its socket.
	lockPatience = 2 * time.Second
	// dialPatience is how long to wait for a listener that takes no connections.
	dialPatience = time.Second
)

// lockDirectory keeps other processes of ours from making sockets in dir, so that
// two that find a stale one do not remove each other's new one. The lock needs no
// file and ends with the process.
func lockDirectory(dir string) (unlock func(), err error) {
	f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	deadline := time.Now().Add(lockPatience)
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil // it was only read
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) || time.Now().After(deadline) {
			return nil, errors.Join(fmt.Errorf("lock the directory %s: %w", dir, err), f.Close())
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// restrict sets the mode that the socket's file is born with, whatever the umask:
// it must not be open to others even for a moment.
func restrict(_, _ string, c syscall.RawConn) error {
	var err error
	ctlErr := c.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), socketMode) })
	return errors.Join(ctlErr, err)
}

// listenerOf returns the process that listens on the socket, 0 if it cannot be
// told, and whether there is one.
func listenerOf(path string) (pid int, alive bool) {
	c, err := net.DialTimeout("unix", path, dialPatience)
	if err != nil {
		return 0, !errors.Is(err, unix.ECONNREFUSED) && !errors.Is(err, unix.ENOENT)
	}
	defer c.Close()
	raw, err := c.(*net.UnixConn).SyscallConn() //nolint:forcetypeassert // what "unix" gives
	if err != nil {
		return 0, true
	}
	err = raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = int(cred.Pid)
		}
	})
	if err != nil {
		return 0, true
	}
	return pid, true
}
