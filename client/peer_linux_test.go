package client

import (
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/fstest"
)

func TestAServiceOfOurOwnIsTrusted(t *testing.T) {
	s := serve(t)
	c, err := DialTrusted(t.Context(), s.address)
	require.NoError(t, err)
	require.Equal(t, s.Info(), c.Info())
	require.NoError(t, c.Close())
	_, err = DialTrusted(t.Context(), filepath.Join(t.TempDir(), "nobody"))
	require.ErrorIs(t, err, ErrNoAnswer)
	require.NotErrorIs(t, err, ErrOtherUser)
}

func TestAServiceOfAnotherUserIsNotTrusted(t *testing.T) {
	if os.Geteuid() == 0 {
		address := listenAs(t, 65534)
		_, err := DialTrusted(t.Context(), address)
		require.ErrorIs(t, err, ErrOtherUser)
		require.NotErrorIs(t, err, ErrNoAnswer, "nobody is to look further")
		_, err = dialTrusted(t.Context(), address, 65534)
		require.ErrorIs(t, err, ErrNoAnswer, "its own user trusts it, but there is no service")
		return
	}
	s := serve(t)
	_, err := dialTrusted(t.Context(), s.address, os.Geteuid()+1)
	require.ErrorIs(t, err, ErrOtherUser)
}

// listenAs listens on a socket as another user. What the kernel remembers of
// who listens are the effective IDs of the thread at that moment.
func listenAs(t *testing.T, uid int) (address string) {
	t.Helper()
	dir := fstest.ShortDir(t)
	require.NoError(t, os.Chmod(dir, 0o777))
	address = filepath.Join(dir, "sock")
	type result struct {
		fd  int
		err error
	}
	done := make(chan result)
	go func() {
		// The thread is not used again: it goes with its goroutine.
		runtime.LockOSThread()
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err == nil {
			err = unix.Bind(fd, &unix.SockaddrUnix{Name: address})
		}
		if err == nil {
			_, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, ^uintptr(0), uintptr(uid), ^uintptr(0))
			if errno != 0 {
				err = errno
			}
		}
		if err == nil {
			err = unix.Listen(fd, 4)
		}
		done <- result{fd, err}
	}()
	r := <-done
	require.NoError(t, r.err)
	f := os.NewFile(uintptr(r.fd), address)
	l, err := net.FileListener(f)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
	return address
}
