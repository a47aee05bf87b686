package fstest

import (
	"bufio"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// Elsewhere starts a shell in a mount namespace of its own, with a copy of all
// mounts, and returns its process ID when it has run the script. It lives until
// end is called, or the test ends. The test is skipped where no such namespace
// can be made.
func Elsewhere(t *testing.T, script string) (pid int, end func()) {
	t.Helper()
	shell := func(script string) *exec.Cmd {
		cmd := exec.Command("/bin/sh", "-ec", "mount --make-rprivate /\n"+script)
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
		return cmd
	}
	// Nothing of the script is in this, so that a fault in the script is no reason
	// to skip.
	if out, err := shell("").CombinedOutput(); err != nil {
		t.Skipf("no mount namespace can be made here: %v %s", err, out)
	}
	cmd := shell(script + "\necho ready\nread end")
	cmd.Stderr = os.Stderr
	life, err := cmd.StdinPipe()
	require.NoError(t, err)
	said, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	end = func() {
		_ = life.Close() // what the shell says of that, and once more, does not matter
		_ = cmd.Wait()
	}
	t.Cleanup(end)
	line, err := bufio.NewReader(said).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "ready\n", line)
	return cmd.Process.Pid, end
}
