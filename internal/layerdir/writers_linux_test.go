package layerdir

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/fstest"
)

// inNamespace runs a shell script in a mount namespace of its own, where it stays until end
// is called or the test ends, and returns how that process is called.
func inNamespace(t *testing.T, script string) (name string, end func()) {
	t.Helper()
	if !fstest.CanMount(t) {
		t.Skip("mounting is not permitted here")
	}
	cmd := exec.Command("/bin/sh", "-c", "set -e\nmount --make-rprivate /\n"+script+"\necho ready\nread end")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	end = func() {
		_ = in.Close() // what the shell says of that, and once more, does not matter
		_ = cmd.Wait()
	}
	t.Cleanup(end)
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "ready\n", line)
	return fmt.Sprintf("process %d (sh)", cmd.Process.Pid), end
}

func TestAWriterInAnotherMountNamespaceIsFound(t *testing.T) {
	s := open(t)
	for _, id := range []driver.ID{"a", "b"} {
		require.NoError(t, s.Create(id, Meta{}, func(dir string) error {
			return errors.Join(unix.Mkdir(dir+"/tree", 0o755), unix.Mkdir(dir+"/at", 0o755))
		}))
	}
	at := t.TempDir()
	bind := fmt.Sprintf("mount --bind %s %s", s.Path("a", "tree"), at)
	unused, _ := inNamespace(t, bind)
	writer, _ := inNamespace(t, bind+"; exec 3>"+at+"/held; exec 4<&0; { read end <&4; } &") // two processes, one namespace
	require.NotEqual(t, unused, writer)
	inNamespace(t, fmt.Sprintf("mount --bind %s %s; mount -o remount,bind,ro %s", s.Path("b", "tree"), at, at))
	inNamespace(t, "true")
	for range 2 {
		holders, seen, err := s.SilenceElsewhere("a")
		require.NoError(t, err)
		require.True(t, seen)
		require.Equal(t, []string{writer}, holders, "the mount that nobody uses is read-only now")
	}
	holders, seen, err := s.SilenceElsewhere("b")
	require.NoError(t, err)
	require.True(t, seen)
	require.Empty(t, holders)

	ctx, cancel := context.WithCancel(t.Context())
	require.NoError(t, s.NotWritableElsewhere(ctx, "b"))
	cancel()
	err = s.NotWritableElsewhere(ctx, "a")
	require.ErrorIs(t, err, driver.ErrBusy)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, writer)
	require.ErrorIs(t, HeldBy([]string{"process 1 (init)"}), driver.ErrBusy)
	require.NoError(t, HeldBy(nil))
}

func TestAnErrorOfLookingForWritersIsNotAwaited(t *testing.T) {
	boom, asked := errors.New("boom"), 0
	find := func() error {
		if asked++; asked < 3 {
			return driver.ErrBusy
		}
		return boom
	}
	require.Equal(t, boom, AwaitNoWriters(t.Context(), find))
	require.Equal(t, 3, asked)
}
