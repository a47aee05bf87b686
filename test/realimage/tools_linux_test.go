package realimage

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// requirements skips the test unless the machine has what it needs.
func requirements(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: building and unpacking a real image takes a minute")
	}
	if os.Geteuid() != 0 {
		t.Skip("not root: debootstrap, device nodes and mounts need it")
	}
	t.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin")
	var missing []string
	for _, program := range []string{"go", "tar", "debootstrap", "umoci", "skopeo", "runc"} {
		if _, err := exec.LookPath(program); err != nil {
			missing = append(missing, program)
		}
	}
	if len(missing) > 0 {
		t.Skip("programs not installed: " + strings.Join(missing, ", "))
	}
	node := filepath.Join(t.TempDir(), "null")
	if err := unix.Mknod(node, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))); err != nil {
		t.Skipf("no device nodes can be made in %s: %v", filepath.Dir(node), err)
	}
}

// run runs a program that has to succeed and returns what it printed.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, errs, err := try(t, name, args...)
	require.NoError(t, err, "%s %s\n%s%s", name, strings.Join(args, " "), out, errs)
	return out
}

// try runs a program without a terminal or input.
func try(t *testing.T, name string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}

// A store is a snapctl binary with a root directory of its own.
type store struct {
	binary, root, driver string
}

// buildSnapctl builds the command as it is shipped.
func buildSnapctl(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "snapctl")
	t.Setenv("CGO_ENABLED", "0")
	run(t, "go", "build", "-trimpath", "-o", binary, "../../cmd/snapctl")
	return binary
}

func newStore(t *testing.T, binary, driver string) store {
	t.Helper()
	return store{binary: binary, root: filepath.Join(t.TempDir(), "store"), driver: driver}
}

func (s store) args(args ...string) []string {
	return append([]string{"--root", s.root, "--driver", s.driver}, args...)
}

// snapctl runs a command that has to succeed and returns what it printed.
func (s store) snapctl(t *testing.T, args ...string) string {
	t.Helper()
	return run(t, s.binary, s.args(args...)...)
}

// mount mounts an image or snapshot until the test ends, or umount is called.
func (s store) mount(t *testing.T, args ...string) (target string, umount func()) {
	t.Helper()
	target = t.TempDir()
	s.snapctl(t, append(append([]string{"mount"}, args...), target)...)
	mounted := true
	umount = func() {
		if mounted {
			s.snapctl(t, "umount", target)
			mounted = false
		}
	}
	t.Cleanup(func() {
		if mounted {
			_, _, _ = try(t, "umount", target)
		}
	})
	return target, umount
}
