package drivertest_test

import (
	"debug/elf"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/fstest"
)

// TestTheTestsOfAufsRunAlone builds the tests of package aufs as one static
// program and runs it where there is nothing else: kernels with aufs are in
// small virtual machines, which have neither Go nor a network nor programs that
// make file systems.
func TestTheTestsOfAufsRunAlone(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a program; not with -short")
	}
	if os.Geteuid() != 0 || !fstest.CanMount(t) {
		t.Skip("chroot(2) and mounts need root")
	}
	root := fstest.Scratch(t, fstest.Tmpfs)
	program := buildTests(t, root)
	requireStatic(t, program)
	for _, dir := range []string{"proc", "tmp", "dev"} {
		require.NoError(t, os.Mkdir(filepath.Join(root, dir), 0o700))
	}
	require.NoError(t, unix.Mount("proc", filepath.Join(root, "proc"), "proc", 0, ""))
	t.Cleanup(func() { require.NoError(t, unix.Unmount(filepath.Join(root, "proc"), 0)) })
	require.NoError(t, unix.Mknod(filepath.Join(root, "dev/null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))

	cmd := exec.Command("/" + filepath.Base(program))
	cmd.Args = append(cmd.Args, "-test.short", "-test.v", "-test.timeout=5m")
	cmd.Dir, cmd.Env = "/", []string{"TMPDIR=/tmp"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWNET}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "alone in an empty directory:\n%s", failed(string(out)))
	require.Contains(t, string(out), "--- PASS: TestConformance/tmpfs/semantics ", "the suite ran")
	for _, skipped := range skips.FindAllString(string(out), -1) {
		t.Log(strings.TrimSpace(skipped))
	}
}

var (
	passed = regexp.MustCompile(`(?m)^(=== .*| *--- (PASS|SKIP).*)\n`)
	skips  = regexp.MustCompile(`(?m)^.*\n *--- SKIP.*`)
)

// failed drops the lines about tests that passed.
func failed(out string) string { return passed.ReplaceAllString(out, "") }

// buildTests builds the tests of package aufs, without cgo, in dir.
func buildTests(t *testing.T, dir string) string {
	t.Helper()
	program := filepath.Join(dir, "aufs.test")
	cmd := exec.Command("go", "test", "-c", "-o", program, "../../aufs")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=readonly", "GOPROXY=off")
	out, err := cmd.CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		t.Skip("there is no go to build with")
	}
	require.NoError(t, err, "%s", out)
	return program
}

// requireStatic fails unless a program needs neither a loader nor libraries.
func requireStatic(t *testing.T, program string) {
	t.Helper()
	f, err := elf.Open(program)
	require.NoError(t, err)
	defer f.Close()
	for _, p := range f.Progs {
		require.NotEqual(t, elf.PT_INTERP, p.Type, "the program asks for a loader")
	}
	libs, err := f.ImportedLibraries()
	require.NoError(t, err)
	require.Empty(t, libs)
}
