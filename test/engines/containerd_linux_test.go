package engines

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/internal/fstest"
)

// A containerd is a containerd daemon with private directories.
type containerd struct {
	*process
	binary, ctrBinary string
	env               []string
	dir, config       string
	address           string
	version           string // as it says itself, without what a distribution adds
}

var versionNumber = regexp.MustCompile(`\bv?(\d+\.\d+\.\d+)`)

// newContainerdAt starts a containerd: of the tools' directory named, or the
// one in PATH when tools is empty. Its files are in dir, its sockets, of which
// the first is containerd.sock, in sockets. fragment is TOML that is added to
// its configuration, of version 2 for a containerd 1 and 3 for a containerd 2.
func newContainerdAt(t testing.TB, tools, dir, sockets, fragment string) *containerd {
	t.Helper()
	c := configureContainerd(t, tools, dir, sockets, fragment)
	c.start(t)
	t.Cleanup(c.endTasks)
	return c
}

// configureContainerd is newContainerdAt for a daemon that is started later.
func configureContainerd(t testing.TB, tools, dir, sockets, fragment string) *containerd {
	t.Helper()
	c := &containerd{dir: dir, address: filepath.Join(sockets, "containerd.sock"), config: filepath.Join(sockets, "config.toml")}
	c.binary, c.ctrBinary = program(t, filepath.Join(tools, "containerd")), program(t, filepath.Join(tools, "ctr"))
	if tools != "" { // its shim is beside it
		c.env = []string{"PATH=" + filepath.Dir(c.binary) + ":" + os.Getenv("PATH") + ":/usr/sbin:/sbin"}
	}
	c.version = versionOf(t, c.binary, "--version")
	require.NoError(t, os.WriteFile(c.config, []byte(c.main()+fragment), 0o600))
	return c
}

// versionOf returns the version number that a program prints.
func versionOf(t testing.TB, name string, args ...string) string {
	t.Helper()
	out := run(t, name, args...)
	found := versionNumber.FindStringSubmatch(out)
	require.NotNil(t, found, "no version in %q", out)
	return found[1]
}

// main is the part of the configuration that keeps the daemon to itself.
func (c *containerd) main() string {
	version, cri := 2, `"io.containerd.grpc.v1.cri"`
	if !strings.HasPrefix(c.version, "1.") {
		version, cri = 3, `"io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime", "io.containerd.podsandbox.controller.v1.podsandbox"`
	}
	return fmt.Sprintf(`version = %[1]d
root = %[2]q
state = %[3]q
disabled_plugins = [%[4]s, "io.containerd.internal.v1.opt", "io.containerd.tracing.processor.v1.otlp", "io.containerd.nri.v1.nri"]
[grpc]
address = %[5]q
[ttrpc]
address = %[6]q
[debug]
level = "warn"
address = %[7]q
`, version, filepath.Join(c.dir, "root"), filepath.Join(c.dir, "state"), cri, c.address, c.address+".ttrpc", c.address+".debug")
}

func (c *containerd) start(t testing.TB) {
	t.Helper()
	require.NoError(t, c.comesUp(t))
}

// comesUp is start for a daemon that may not be able to.
func (c *containerd) comesUp(t testing.TB) error {
	t.Helper()
	c.process = start(t, filepath.Dir(c.config), c.env, c.binary, "--config", c.config)
	return c.ready(func() error {
		_, err := c.try("version")
		return err
	})
}

// proxySnapshotter is a fragment for a snapshotter called name.
func proxySnapshotter(name, address string, capabilities ...string) string {
	list := ""
	if len(capabilities) > 0 {
		list = fmt.Sprintf("capabilities = [%q]\n", strings.Join(capabilities, `", "`))
	}
	return fmt.Sprintf("[proxy_plugins.%s]\ntype = \"snapshot\"\naddress = %q\n%s", name, address, list)
}

// ctr runs a ctr command that has to succeed.
func (c *containerd) ctr(t testing.TB, args ...string) string {
	t.Helper()
	out, err := c.try(args...)
	require.NoError(t, err)
	return out
}

// try runs a ctr command.
func (c *containerd) try(args ...string) (string, error) {
	return tryEnv(c.env, c.ctrBinary, append([]string{"--address", c.address}, args...)...)
}

// endTasks ends the containers that a failed test left running, whose shims
// would outlive the daemon.
func (c *containerd) endTasks() {
	if c.ended() {
		return
	}
	tasks, _ := c.try("tasks", "ls", "--quiet") // what fails here is noticed when the file systems are unmounted
	for _, id := range strings.Fields(tasks) {
		_, _ = c.try("tasks", "rm", "--force", id)
	}
}

// requireGone ends the daemon and requires that it has left no mount and no
// process.
func (c *containerd) requireGone(t testing.TB) {
	t.Helper()
	c.stop(t)
	require.Empty(t, fstest.MountsBelow(t, c.dir), "mounts left over")
	require.Empty(t, processesOf(t, "\x00-address\x00"+c.address+"\x00"), "shims left over")
	require.Empty(t, processesOf(t, c.dir), "processes left over")
}

// Docker sends SIGUSR1 to a containerd that does not answer in time, before it
// starts another, and containerd then leaves its stacks among temporary files.
// A busy machine makes that happen in any test.
func TestTheStacksOfAContainerdGoWithItsDirectory(t *testing.T) {
	requirements(t, "containerd", "ctr")
	sockets := fstest.ShortDir(t)
	c := newContainerdAt(t, "", workDir(t, ""), sockets, "")
	c.await(t, listens(c.address))
	require.NoError(t, c.cmd.Process.Signal(syscall.SIGUSR1))
	stacks := fmt.Sprintf("containerd.%d.stacks.log", c.cmd.Process.Pid)
	c.await(t, func() error {
		_, err := os.Stat(filepath.Join(sockets, stacks))
		return err
	})
	require.NoFileExists(t, filepath.Join(os.TempDir(), stacks))
}
