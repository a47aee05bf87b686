package drivertest

import (
	"errors"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/internal/fstest"
)

// insideEnv says that this process is the one in the user namespace, and which
// directory it is to use; "-" is a tmpfs of its own.
const insideEnv = "LAYERKEEP_TEST_IN_USERNS"

// RunUnprivileged runs the suite as root of a new user namespace that maps one
// id only: on a tmpfs of its own, or, for a backend that does not live there,
// on a scratch file system, which needs root to make. A backend that refuses to
// work there must not claim Properties.Rootless. It runs the test that calls it
// again in a child process; that test must do nothing else.
func RunUnprivileged(t *testing.T, cfg Config) {
	if dir := os.Getenv(insideEnv); dir != "" {
		if cfg.Dir = dir; dir == "-" {
			cfg.Dir = fstest.Scratch(t, fstest.Tmpfs)
		}
		s := newSuite(t, cfg)
		require.True(t, s.props.Rootless, "the driver works in a user namespace, so Properties.Rootless must say so")
		Run(t, cfg)
		return
	}
	if testing.Short() && os.Geteuid() == 0 {
		t.Skip("not in short mode: root runs the suite without a user namespace there")
	}
	dir := "-"
	if fs := cfg.filesystems(t)[0]; fs != fstest.Tmpfs {
		dir = fstest.Scratch(t, fs)
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	if testing.Short() {
		cmd.Args = append(cmd.Args, "-test.short")
	}
	cmd.Env = append(os.Environ(), insideEnv+"="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err != nil && !errors.As(err, &exit):
		t.Skipf("no user namespace can be made here: %v", err)
	case err != nil:
		t.Fatalf("in a user namespace:\n%s", failures(string(out)))
	case strings.Contains(string(out), "--- SKIP: "+t.Name()+" "):
		require.False(t, isRootless(t, cfg), "Properties.Rootless is claimed, and yet in a user namespace:\n%s", out)
		t.Skipf("in a user namespace:\n%s", out)
	}
	t.Logf("%d tests passed in a user namespace", strings.Count(string(out), "--- PASS"))
}

// isRootless reports what the backend claims where it works.
func isRootless(t *testing.T, cfg Config) bool {
	t.Helper()
	if os.Geteuid() == 0 {
		cfg.Dir = fstest.Scratch(t, cfg.filesystems(t)[0])
	}
	return newSuite(t, cfg).props.Rootless
}

var passed = regexp.MustCompile(`(?m)^(=== .*| *--- PASS.*)\n`)

// failures drops the lines about tests that passed.
func failures(out string) string { return passed.ReplaceAllString(out, "") }
