package confine

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// requireLandlock skips where the kernel limits nothing.
func requireLandlock(t *testing.T) {
	t.Helper()
	box, err := newSandbox(Dirs{})
	require.NoError(t, err)
	defer box.close()
	if box.rules < 0 {
		t.Skip("no Landlock of Linux 5.19 or later")
	}
}

func TestConfinedWorkChangesItsDirectoriesOnly(t *testing.T) {
	requireLandlock(t)
	change, other, read, outside := t.TempDir(), t.TempDir(), t.TempDir(), t.TempDir()
	for _, dir := range []string{change, other, read, outside} {
		require.NoError(t, os.WriteFile(dir+"/f", []byte(dir), 0o600))
	}
	tries := map[string]func(dir string) error{
		"read":     func(dir string) error { _, err := os.ReadFile(dir + "/f"); return err },
		"list":     func(dir string) error { _, err := os.ReadDir(dir); return err },
		"write":    func(dir string) error { return os.WriteFile(dir+"/new", nil, 0o600) },
		"truncate": func(dir string) error { return os.Truncate(dir+"/f", 1) },
		"mkdir":    func(dir string) error { return os.Mkdir(dir+"/d", 0o700) },
		"symlink":  func(dir string) error { return os.Symlink("x", dir+"/l") },
		"fifo":     func(dir string) error { return unix.Mkfifo(dir+"/p", 0o600) },
		"link in":  func(dir string) error { return os.Link(change+"/f", dir+"/hard") },
		"link out": func(dir string) error { return os.Link(dir+"/f", change+"/hard "+filepath.Base(dir)) },
		"rename":   func(dir string) error { return os.Rename(dir+"/f", dir+"/g") },
		"move in":  func(dir string) error { return os.Rename(dir+"/g", change+"/moved "+filepath.Base(dir)) },
		"descend": func(dir string) error { // from an open directory, and through a link of /proc
			fd, err := unix.Open(dir, unix.O_PATH|unix.O_CLOEXEC, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			f, err := os.OpenFile("/proc/self/fd/"+strconv.Itoa(fd)+"/"+"made", os.O_CREATE|os.O_WRONLY, 0o600)
			if err != nil {
				return err
			}
			return f.Close()
		},
	}
	order := []string{"read", "list", "write", "truncate", "mkdir", "symlink", "fifo", "link in", "link out", "rename", "move in", "descend"}
	allowed := map[string]string{
		change: "read list write truncate mkdir symlink fifo link in link out rename move in descend",
		other:  "read list write truncate mkdir symlink fifo link in link out rename move in descend",
		read:   "read list",
	}
	err := Do(t.Context(), Dirs{Change: []string{change, other}, Read: []string{read}}, func(context.Context) error {
		var wrong []error
		for _, dir := range []string{other, read, outside, change} {
			for _, name := range order {
				err := tries[name](dir)
				switch may := strings.Contains(allowed[dir], name); {
				case may && err != nil && !errors.Is(err, os.ErrExist):
					wrong = append(wrong, err)
				case !may && !errors.Is(err, os.ErrPermission) && !errors.Is(err, unix.EXDEV) && !errors.Is(err, os.ErrNotExist):
					wrong = append(wrong, errors.New(name+" in "+dir+" is allowed"))
				}
			}
		}
		return errors.Join(wrong...)
	})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(outside+"/new", nil, 0o600), "the caller is free")
	for _, dir := range []string{read, outside} {
		body, err := os.ReadFile(dir + "/f")
		require.NoError(t, err)
		require.Equal(t, dir, string(body))
	}
}

func TestConfinedWorkCannotMountOrConnect(t *testing.T) {
	requireLandlock(t)
	dir := t.TempDir()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	require.NoError(t, Do(t.Context(), Dirs{Change: []string{dir}}, func(context.Context) error {
		if err := unix.Mount("none", dir, "tmpfs", 0, ""); !errors.Is(err, unix.EPERM) {
			return errors.Join(errors.New("it can mount"), err, unix.Unmount(dir, 0))
		}
		version, _, _ := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err == nil {
			conn.Close()
		}
		if version >= versionNet && !errors.Is(err, unix.EACCES) {
			return errors.Join(errors.New("it can connect"), err)
		}
		return nil
	}))
}

func TestConfinedWorkHasNoMoreRightsThanItNeeds(t *testing.T) {
	capabilities := func() (effective uint64) {
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		require.NoError(t, unix.Capget(&header, &data[0]))
		return uint64(data[1].Effective)<<32 | uint64(data[0].Effective)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := capabilities()
	var within uint64
	check := func() error {
		within = capabilities()
		set, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
		if err == nil && set != 1 {
			err = errors.New("programs may gain rights")
		}
		if unix.Gettid() == unix.Getpid() {
			err = errors.Join(err, errors.New("it is the first thread"))
		}
		return err
	}
	for range 50 {
		require.NoError(t, Do(t.Context(), Dirs{}, func(ctx context.Context) error {
			if err := check(); err != nil {
				return err
			}
			done := make(chan error)
			Go(ctx, func(err error) { done <- errors.Join(err, check()) })
			return <-done
		}))
		require.Equal(t, before&kept, within)
	}
	require.Equal(t, before, capabilities())
	set, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	require.NoError(t, err)
	require.Zero(t, set)
}

func TestWhatCallersGiveIsCalledOutside(t *testing.T) {
	dir := t.TempDir()
	thread := 0
	require.NoError(t, Do(t.Context(), Dirs{}, func(ctx context.Context) error {
		w := Writer(ctx, writerFunc(func(p []byte) (int, error) {
			thread = unix.Gettid()
			return len(p), os.WriteFile(dir+"/written", p, 0o600)
		}))
		if _, err := io.Copy(w, bytes.NewBufferString("text")); err != nil {
			return err
		}
		if err := w.Close(); err != nil {
			return err
		}
		if thread == unix.Gettid() {
			return errors.New("the writer was called on the confined thread")
		}
		return nil
	}))
	body, err := os.ReadFile(dir + "/written")
	require.NoError(t, err)
	require.Equal(t, "text", string(body))
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestErrorsAndPanicsOfConfinedWorkAreThoseOfTheCall(t *testing.T) {
	failed := errors.New("failed")
	require.Equal(t, failed, Do(t.Context(), Dirs{}, func(context.Context) error { return failed }))
	require.ErrorIs(t, Do(t.Context(), Dirs{Read: []string{"/nowhere at all"}}, func(context.Context) error { return nil }), os.ErrNotExist)
	require.PanicsWithError(t, "of the work", func() {
		defer func() {
			p := recover()
			require.Contains(t, p, "of the work\n\ngoroutine")
			panic(errors.New("of the work"))
		}()
		_ = Do(t.Context(), Dirs{}, func(context.Context) error { panic("of the work") })
	})
	// A panic of what the work has called ends the work, too, before it goes on.
	ended := false
	require.PanicsWithValue(t, "of the writer", func() {
		_ = Do(t.Context(), Dirs{}, func(ctx context.Context) error {
			defer func() { ended = true }()
			w := Writer(ctx, writerFunc(func([]byte) (int, error) { panic("of the writer") }))
			_, err := w.Write([]byte("text"))
			return errors.Join(err, w.Close())
		})
	})
	require.True(t, ended)
	// The end of a goroutine, as by the end of a test, is that of the caller's.
	over := make(chan bool)
	go func() {
		returned := false
		defer func() { over <- returned }()
		_ = Do(context.Background(), Dirs{}, func(context.Context) error { runtime.Goexit(); return nil })
		returned = true
	}()
	require.False(t, <-over)
}

func TestWorkThatIsNotConfinedStaysOnItsThread(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	here := unix.Gettid()
	ctx := Without(t.Context())
	require.NoError(t, Do(ctx, Dirs{Read: []string{"/nowhere at all"}}, func(ctx context.Context) error {
		require.Equal(t, here, unix.Gettid())
		Outside(ctx, func() { require.Equal(t, here, unix.Gettid()) })
		done := make(chan error)
		Go(ctx, func(err error) { done <- err })
		return <-done
	}))
	require.NoError(t, Do(t.Context(), Dirs{}, func(ctx context.Context) error {
		inside := unix.Gettid()
		return Do(ctx, Dirs{}, func(context.Context) error {
			if unix.Gettid() != inside {
				return errors.New("work in work is on another thread")
			}
			return nil
		})
	}))
}

func TestAWriterOutsideGetsAllBytesInOrderOrSaysWhy(t *testing.T) {
	full := errors.New("full")
	for _, size := range []int{0, 1, outsideBuffer - 1, outsideBuffer, 3*outsideBuffer + 7} {
		body := make([]byte, size)
		for i := range body {
			body[i] = byte(i % 251)
		}
		for _, piece := range []int{1 << 10, 1 << 20} {
			for _, room := range []int{size, size - 1} { // what the receiver takes
				var got bytes.Buffer
				err := Do(t.Context(), Dirs{}, func(ctx context.Context) error {
					w := Writer(ctx, writerFunc(func(p []byte) (int, error) {
						n := min(len(p), room-got.Len())
						got.Write(p[:n])
						if n < len(p) {
							return n, full
						}
						return n, nil
					}))
					for rest := body; len(rest) > 0; rest = rest[min(piece, len(rest)):] {
						if _, err := w.Write(rest[:min(piece, len(rest))]); err != nil {
							return errors.Join(err, w.Close())
						}
					}
					return w.Close()
				})
				if room == size || size == 0 {
					require.NoError(t, err)
					require.True(t, bytes.Equal(body, got.Bytes()), "%d bytes", size)
				} else {
					require.ErrorIs(t, err, full)
				}
			}
		}
	}
	for _, confined := range []bool{true, false} { // a receiver that takes less without an error
		ctx := t.Context()
		if !confined {
			ctx = Without(ctx)
		}
		err := Do(ctx, Dirs{}, func(ctx context.Context) error {
			w := Writer(ctx, writerFunc(func(p []byte) (int, error) { return len(p) / 2, nil }))
			_, err := io.Copy(w, bytes.NewBufferString("text"))
			return errors.Join(err, w.Close())
		})
		require.ErrorIs(t, err, io.ErrShortWrite)
	}
}
