package fstest_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/internal/fstest"
)

// A process of another test run that makes a mount namespace of its own gets a
// copy of the mount of a scratch file system, which would keep its loop device.
func TestANamespaceOfAnotherRunDoesNotMatter(t *testing.T) {
	if !fstest.CanMount(t) {
		t.Skip("nothing can be mounted here")
	}
	var stranger int
	t.Run("scratch", func(t *testing.T) { // which fails when the device does not get free
		fstest.Scratch(t, fstest.Ext4)
		stranger = newStranger(t)
	})
	if stranger != 0 {
		require.NoError(t, syscall.Kill(stranger, syscall.SIGKILL), "it has lived so long")
	}
}

// newStranger starts a process that is not below this one and lives in a mount
// namespace of its own. The caller ends it.
func newStranger(t *testing.T) (pid int) {
	t.Helper()
	out, err := exec.Command("sh", "-c", "env -i PATH=\"$PATH\" setsid unshare -m sleep 10000 >/dev/null 2>&1 & echo $!").Output()
	require.NoError(t, err)
	pid, err = strconv.Atoi(strings.TrimSpace(string(out)))
	require.NoError(t, err)
	own, err := os.Readlink("/proc/self/ns/mnt")
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		name, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "comm")) // it may not be there yet
		theirs, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(pid), "ns/mnt"))
		return err == nil && own != theirs && string(name) == "sleep\n"
	}, fstest.Patience, time.Millisecond)
	return pid
}
