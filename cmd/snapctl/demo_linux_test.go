package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/internal/fstest"
)

const nobody = 65534

// binaryForNobody puts this test binary, as snapctl, where any user can run it
// and nobody but root can read it, and makes a directory for nobody to write
// to.
func binaryForNobody(t *testing.T) (binary, home string) {
	t.Helper()
	if !isHostRoot() {
		t.Skip("only root of the machine can become another user")
	}
	dir := fstest.OpenDir(t)
	binary, home = filepath.Join(dir, "snapctl"), filepath.Join(dir, "home")
	copyBinary(t, binary)
	require.NoError(t, os.Chmod(binary, 0o711))
	require.NoError(t, os.Mkdir(home, 0o700))
	require.NoError(t, os.Chown(home, nobody, nobody))
	return binary, home
}

func copyBinary(t *testing.T, to string) {
	t.Helper()
	self, err := os.Open("/proc/self/exe")
	require.NoError(t, err)
	defer self.Close()
	f, err := os.Create(to)
	require.NoError(t, err)
	_, err = io.Copy(f, self)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

func asNobody(binary, home string, args ...string) *exec.Cmd {
	cmd := exec.Command(binary, args...)
	cmd.Dir = "/"
	cmd.Env = []string{"TMPDIR=" + home, "HOME=" + home, "PATH=/usr/bin:/bin"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	return cmd
}

func TestNobodyCanRunTheDemo(t *testing.T) {
	binary, home := binaryForNobody(t)
	for _, driver := range []string{"", "overlay2", "vfs"} {
		t.Run("driver "+driver, func(t *testing.T) {
			cmd := asNobody(binary, home, "--driver", driver, "--json", "demo")
			var errs bytes.Buffer
			cmd.Stderr = &errs
			out, err := cmd.Output()
			require.NoError(t, err, errs.String())
			var result demoResult
			require.NoError(t, json.Unmarshal(out, &result))
			require.True(t, result.OK)
			require.True(t, result.UserNamespace)
			require.Len(t, result.Steps, len(demoSteps()))
			if driver != "" {
				require.Equal(t, driver, result.Driver)
			}
			requireEmpty(t, home)
		})
	}
}

// As Ctrl-C does it: the signal goes to the process and to its copy in the user
// namespace.
func TestNobodyCanInterruptTheDemo(t *testing.T) {
	binary, home := binaryForNobody(t)
	cmd := asNobody(binary, home, "demo")
	cmd.SysProcAttr.Setpgid = true
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	require.NoError(t, cmd.Start())
	told := &alarm{text: "Mount it writable", fn: func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }}
	_, err = io.Copy(told, out)
	require.NoError(t, err)
	err = cmd.Wait()
	require.Error(t, err)
	require.Equal(t, exitInterrupted, cmd.ProcessState.ExitCode(), told.seen.String())
	require.Contains(t, errs.String(), "interrupted")
	require.Equal(t, 1, strings.Count(errs.String(), "\n"), errs.String())
	requireEmpty(t, home)
}

// Killed without a chance to clean up, the parent leaves that to its copy.
func TestADemoWhoseParentIsKilledCleansUp(t *testing.T) {
	binary, home := binaryForNobody(t)
	cmd := asNobody(binary, home, "demo")
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	told := &alarm{text: "Mount it writable", fn: cmd.Process.Kill}
	_, err = io.Copy(told, out) // ends when the copy has ended too
	require.NoError(t, err)
	require.Error(t, cmd.Wait())
	requireEmpty(t, home)
}

func requireEmpty(t *testing.T, dir string) {
	t.Helper()
	require.Eventually(t, func() bool {
		entries, err := os.ReadDir(dir)
		return err == nil && len(entries) == 0
	}, fstest.Patience, 10*time.Millisecond, "%s is empty", dir)
}
