package service

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
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

// lockSocket keeps other processes of ours from making the socket at path, so
// that two that find a stale one do not remove each other's new one. The lock
// is on a file beside it, which only its owner can open: whoever can open the
// directory could keep us from a lock on that for ever. The file is there while
// it is locked.
func lockSocket(path string) (unlock func() error, err error) {
	name := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".lock")
	deadline := time.Now().Add(lockPatience)
	for {
		f, err := tryLock(name)
		if err == nil && f != nil {
			return func() error { return errors.Join(os.Remove(name), f.Close()) }, nil
		}
		if err == nil && time.Now().After(deadline) {
			err = unix.EWOULDBLOCK
		}
		if err != nil {
			return nil, fmt.Errorf("lock %s: %w", name, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// tryLock returns the locked file, or nil if another process has it.
func tryLock(name string) (_ *os.File, err error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, err
	}
	locked := false
	defer func() {
		if !locked {
			err = errors.Join(err, f.Close())
		}
	}()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || int(st.Uid) != os.Geteuid() || st.Mode&0o077 != 0 {
		return nil, fmt.Errorf("%w: it is not ours alone", ErrAddressInUse)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, unix.EINTR) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	// Its last owner may have removed it between our opening and locking it.
	var now unix.Stat_t
	if unix.Lstat(name, &now) != nil || now.Dev != st.Dev || now.Ino != st.Ino {
		return nil, nil
	}
	locked = true
	return f, nil
}

// pin keeps the inode of the file at path from being used again, so that
// another file there can be told from it.
func pin(path string) (fs.FileInfo, io.Closer, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	info, err := f.Stat()
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return info, f, nil
}

// restrict sets the mode that the socket's file is born with, whatever the
// umask: it must not be open to others even for a moment.
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
