package service

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/internal/fstest"
)

// quick is how often tests let a socket be looked after.
const quick = 5 * time.Millisecond

// syncBuffer is a log that can be read while it is written.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// eventually polls until ok.
func eventually(t *testing.T, ok func() bool, what string) {
	t.Helper()
	require.Eventually(t, ok, fstest.Patience, 5*time.Millisecond, what)
}

// echo answers on l with what the connection says, until l is closed.
func echo(t *testing.T, l net.Listener) {
	t.Helper()
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				_, _ = io.CopyN(c, c, 1) // the other side checks
				_ = c.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close() // closed by most tests
		running.Wait()
	})
}

func answers(path string) bool {
	c, err := net.Dial("unix", path)
	if err != nil {
		return false
	}
	defer c.Close()
	if _, err := c.Write([]byte("x")); err != nil {
		return false
	}
	got := make([]byte, 1)
	n, _ := c.Read(got)
	return n == 1 && got[0] == 'x'
}

func listening(t *testing.T, path string) (*socket, *syncBuffer) {
	t.Helper()
	log := &syncBuffer{}
	l, err := listen(path, slog.New(slog.NewTextHandler(log, nil)), quick)
	require.NoError(t, err)
	echo(t, l)
	require.True(t, answers(path))
	return l, log
}

func TestASocketIsForItsOwnerOnly(t *testing.T) {
	path := filepath.Join(fstest.ShortDir(t), "a", "b", "s.sock")
	l, _ := listening(t, path)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	dir, err := os.Stat(filepath.Dir(path))
	require.NoError(t, err)
	require.Zero(t, dir.Mode().Perm()&0o066)
	require.Equal(t, path, l.Addr().String())
	require.NoError(t, l.Close())
	require.NoFileExists(t, path)
	require.ErrorIs(t, l.Close(), net.ErrClosed)
}

func TestALiveSocketIsRefused(t *testing.T) {
	path := filepath.Join(fstest.ShortDir(t), "s.sock")
	listening(t, path)
	_, err := Listen(path, nil)
	require.ErrorIs(t, err, ErrAddressInUse)
	require.ErrorContains(t, err, path)
	require.True(t, answers(path))
}

func TestAStaleSocketIsReplaced(t *testing.T) {
	path := filepath.Join(fstest.ShortDir(t), "s.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	require.NoError(t, err)
	l.SetUnlinkOnClose(false)
	require.NoError(t, l.Close())
	require.FileExists(t, path)
	listening(t, path)
}

func TestWhatIsNoSocketIsNeverRemoved(t *testing.T) {
	for name, put := range map[string]func(path string) error{
		"a file":             func(path string) error { return os.WriteFile(path, []byte("precious"), 0o600) },
		"an empty directory": func(path string) error { return os.Mkdir(path, 0o700) },
		"a link to a socket": func(path string) error { return os.Symlink("/nowhere.sock", path) },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(fstest.ShortDir(t), "s.sock")
			require.NoError(t, put(path))
			before, err := os.Lstat(path)
			require.NoError(t, err)
			_, err = Listen(path, nil)
			require.ErrorIs(t, err, ErrAddressInUse)
			after, err := os.Lstat(path)
			require.NoError(t, err)
			require.True(t, os.SameFile(before, after))
		})
	}
}

func TestASocketComesBackWhenItWasTakenAway(t *testing.T) {
	for name, take := range map[string]func(path string) error{
		"the socket was removed":        os.Remove,
		"the socket was renamed":        func(path string) error { return os.Rename(path, path+".old") },
		"its directory was removed":     func(path string) error { return os.RemoveAll(filepath.Dir(path)) },
		"a stale socket replaced it":    replaceByStale,
		"a socket that ended did later": replaceAndEnd,
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(fstest.ShortDir(t), "run", "s.sock")
			l, log := listening(t, path)
			require.NoError(t, take(path))
			eventually(t, func() bool { return answers(path) && strings.Contains(log.String(), "made anew") }, "the socket answers again")
			require.NoError(t, l.Close())
			require.NoFileExists(t, path)
		})
	}
}

func replaceByStale(path string) error {
	if err := os.Remove(path); err != nil {
		return err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil //nolint:nilerr // it was made anew already, which is what is tested
	}
	l.SetUnlinkOnClose(false)
	return l.Close()
}

func replaceAndEnd(path string) error {
	l, err := net.Listen("unix", path+".new")
	if err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	time.Sleep(10 * quick) // lets it be seen while it lives
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	return l.Close()
}

func TestAnotherProcessesSocketIsLeftAloneAndReported(t *testing.T) {
	path := filepath.Join(fstest.ShortDir(t), "s.sock")
	l, log := listening(t, path)
	require.NoError(t, os.Remove(path))
	other, err := net.Listen("unix", path)
	if err != nil {
		t.Skipf("the socket was made anew before the test could replace it: %v", err)
	}
	echo(t, other)
	eventually(t, func() bool { return strings.Contains(log.String(), "taken away") }, "it is reported")
	require.NoError(t, l.Close())
	require.True(t, answers(path))
	require.Equal(t, 1, strings.Count(log.String(), "taken away"), "once")
}

func TestConnectionsOutliveTheSocketTheyCameThrough(t *testing.T) {
	path := filepath.Join(fstest.ShortDir(t), "s.sock")
	listening(t, path)
	c, err := net.Dial("unix", path)
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, os.Remove(path))
	eventually(t, func() bool { return answers(path) }, "the socket answers again")
	_, err = c.Write([]byte("y"))
	require.NoError(t, err)
	got := make([]byte, 1)
	_, err = io.ReadFull(c, got)
	require.NoError(t, err)
	require.Equal(t, "y", string(got))
}

func TestOfManyThatWantOneStaleSocketOneGetsIt(t *testing.T) {
	path := filepath.Join(fstest.ShortDir(t), "s.sock")
	require.NoError(t, func() error {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			return err
		}
		l.SetUnlinkOnClose(false)
		return l.Close()
	}())
	const many = 16
	got := make(chan net.Listener, many)
	errs := make(chan error, many)
	var all sync.WaitGroup
	for range many {
		all.Go(func() {
			l, err := Listen(path, nil)
			if err != nil {
				errs <- err
				return
			}
			got <- l
		})
	}
	all.Wait()
	require.Len(t, got, 1)
	require.Len(t, errs, many-1)
	for range many - 1 {
		require.ErrorIs(t, <-errs, ErrAddressInUse)
	}
	require.NoError(t, (<-got).Close())
}

func TestASocketThatIsTouchedStaysOurs(t *testing.T) {
	path := filepath.Join(fstest.ShortDir(t), "s.sock")
	l, log := listening(t, path)
	before, err := os.Lstat(path)
	require.NoError(t, err)
	require.NoError(t, os.Chtimes(path, time.Time{}, time.Unix(1, 0)))
	require.NoError(t, l.restore())
	after, err := os.Lstat(path)
	require.NoError(t, err)
	require.True(t, os.SameFile(before, after))
	require.NoError(t, l.Close())
	require.NoFileExists(t, path)
	require.NotContains(t, log.String(), "taken away")
}
