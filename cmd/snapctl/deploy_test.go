package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

const (
	deployFiles   = "../../deploy"
	usualAddress  = "/run/layerkeep/layerkeep.sock"
	usualStore    = "/var/lib/layerkeep"
	installScript = deployFiles + "/kubernetes/install.sh"
)

func deployFile(t *testing.T, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(deployFiles, name))
	require.NoError(t, err)
	return content
}

func TestTheFilesForContainerdNameTheServicesSocket(t *testing.T) {
	differs := map[string]bool{"config-1.6.toml": false, "config-1.7.toml": true, "config-2.toml": true}
	for name, differ := range differs {
		var config struct {
			ProxyPlugins map[string]struct {
				Type, Address string
				Exports       map[string]string
			} `toml:"proxy_plugins"`
		}
		require.NoError(t, toml.Unmarshal(deployFile(t, "containerd/"+name), &config), name)
		require.Equal(t, "snapshot", config.ProxyPlugins["layerkeep"].Type, name)
		require.Equal(t, differ, config.ProxyPlugins["layerkeep-diff"].Type == "diff", name)
		for plugin, p := range config.ProxyPlugins {
			require.Equal(t, usualAddress, p.Address, "%s in %s", plugin, name)
			if root, ok := p.Exports["root"]; ok {
				require.Equal(t, usualStore, root, name)
			}
		}
	}
}

func TestTheSocketOfSystemdIsTheOneThatEnginesAreGiven(t *testing.T) {
	require.Contains(t, string(deployFile(t, "systemd/layerkeep.socket")), "\nListenStream="+usualAddress+"\n")
	require.Contains(t, string(deployFile(t, "systemd/layerkeep.service")), "\nExecStart=/usr/local/bin/snapctl serve\n")
}

func TestSystemdFindsNothingWrongWithTheUnits(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("no systemd-analyze")
	}
	dir := t.TempDir()
	self, err := os.Executable() // what it starts has to be there
	require.NoError(t, err)
	service := strings.Replace(string(deployFile(t, "systemd/layerkeep.service")), "/usr/local/bin/snapctl", self, 1)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "layerkeep.service"), []byte(service), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "layerkeep.socket"), deployFile(t, "systemd/layerkeep.socket"), 0o644))
	for _, unit := range []string{"layerkeep.service", "layerkeep.socket"} {
		// Only ours: what is wrong with units of the machine is none of our business.
		cmd := exec.Command(analyze, "verify", "--recursive-errors=no", filepath.Join(dir, unit))
		cmd.Env = append(os.Environ(), "SYSTEMD_UNIT_PATH="+dir+":")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s: %s", unit, out)
		require.NotContains(t, string(out), "layerkeep", unit)
	}
}

func TestTheFilesForKubernetesAreWhole(t *testing.T) {
	kinds := map[string]map[string]any{}
	for dec := yaml.NewDecoder(bytes.NewReader(deployFile(t, "kubernetes/daemonset.yaml"))); ; {
		var object map[string]any
		err := dec.Decode(&object)
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		kinds[object["kind"].(string)] = object
	}
	require.Len(t, kinds, 3)
	require.Contains(t, kinds, "Namespace")
	require.Contains(t, kinds, "DaemonSet")
	var settings map[string]any
	require.NoError(t, toml.Unmarshal([]byte(kinds["ConfigMap"]["data"].(map[string]any)["config.toml"].(string)), &settings))
	require.Equal(t, usualAddress, settings["address"])
	require.Equal(t, usualStore, settings["root"])

	for line := range strings.Lines(string(deployFile(t, "kubernetes/Containerfile"))) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] != "COPY" {
			continue
		}
		for _, source := range fields[1 : len(fields)-1] {
			if !strings.HasPrefix(source, "bin/") { // made by make build
				_, err := os.Stat(filepath.Join("../..", source))
				require.NoError(t, err)
			}
		}
	}
}

// A node is a directory that install.sh takes for a node, whose programs are
// shell scripts that write down what they were asked.
type node struct {
	dir, from, bin string
}

func newNode(t *testing.T, containerd string) node {
	t.Helper()
	if _, err := exec.LookPath("sh"); err != nil {
		t.Skip("no sh")
	}
	dir := t.TempDir()
	n := node{filepath.Join(dir, "host"), filepath.Join(dir, "from"), filepath.Join(dir, "bin")}
	for _, d := range []string{n.dir, n.bin, n.from + "/bin", n.from + "/systemd", n.from + "/containerd"} {
		require.NoError(t, os.MkdirAll(d, 0o755))
	}
	for _, name := range []string{"bin/snapctl", "systemd/layerkeep.service", "systemd/layerkeep.socket"} {
		n.ship(t, name, name)
	}
	for _, name := range []string{"config-1.6.toml", "config-1.7.toml", "config-2.toml"} {
		n.ship(t, "containerd/"+name, name)
	}
	nsenter := `#!/bin/sh
while [ "$1" != -- ]; do shift; done; shift
case $1 in
containerd) echo "containerd github.com/containerd/containerd ` + containerd + ` 1.7.24" ;;
*) echo "$@" ;;
esac`
	require.NoError(t, os.WriteFile(filepath.Join(n.bin, "nsenter"), []byte(nsenter), 0o755))
	// The script waits for an hour at the end.
	require.NoError(t, os.WriteFile(filepath.Join(n.bin, "sleep"), []byte("#!/bin/sh\nkill $PPID\n"), 0o755))
	return n
}

func (n node) ship(t *testing.T, name, content string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(n.from, name), []byte(content), 0o644))
}

// run runs the script and returns what it did with systemd.
func (n node) run(t *testing.T, command string) []string {
	t.Helper()
	cmd := exec.Command("sh", installScript, command)
	cmd.Env = append(os.Environ(), "HOST="+n.dir, "FROM="+n.from, "CONFIG="+n.from+"/config.toml", "PATH="+n.bin+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	var did []string
	for line := range strings.Lines(string(out)) {
		if call, ok := strings.CutPrefix(strings.TrimSpace(line), "systemctl "); ok {
			did = append(did, call)
		}
	}
	return did
}

func (n node) read(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(n.dir, name))
	require.NoError(t, err)
	return string(content)
}

func TestInstallingOnANodeRestartsOnlyWhatHasChanged(t *testing.T) {
	const both = "layerkeep.socket layerkeep.service"
	n := newNode(t, "v2.4.2")
	require.Equal(t, []string{"daemon-reload", "enable " + both, "stop " + both, "start " + both}, n.run(t, "install"))
	require.Equal(t, "bin/snapctl", n.read(t, "usr/local/bin/snapctl"))
	require.Equal(t, "systemd/layerkeep.socket", n.read(t, "etc/systemd/system/layerkeep.socket"))

	require.Equal(t, []string{"start " + both}, n.run(t, "install"), "nothing has changed")

	n.ship(t, "bin/snapctl", "newer")
	require.Equal(t, []string{"daemon-reload", "enable " + both, "restart layerkeep.service", "start " + both}, n.run(t, "install"))
	require.Equal(t, "newer", n.read(t, "usr/local/bin/snapctl"))

	n.ship(t, "config.toml", "log-level = \"debug\"\n")
	require.Contains(t, n.run(t, "install"), "restart layerkeep.service")
	require.Equal(t, "log-level = \"debug\"\n", n.read(t, "etc/layerkeep/config.toml"))

	require.Equal(t, []string{"disable --now " + both, "daemon-reload"}, n.run(t, "remove"))
	require.NoFileExists(t, filepath.Join(n.dir, "usr/local/bin/snapctl"))
	require.NoFileExists(t, filepath.Join(n.dir, "etc/containerd/conf.d/layerkeep.toml"))
}

func TestANodeGetsTheFileForItsContainerd(t *testing.T) {
	for version, file := range map[string]string{
		"1.6.20~ds1": "config-1.6.toml", "v1.7.3": "config-1.6.toml", "1.7.3-1": "config-1.6.toml", "v1.7.4": "config-1.7.toml",
		"v1.7.30": "config-1.7.toml", "v2.0.0": "config-2.toml", "v2.4.2": "config-2.toml",
	} {
		t.Run(version, func(t *testing.T) {
			n := newNode(t, version)
			n.run(t, "install")
			require.Equal(t, file, n.read(t, "etc/containerd/conf.d/layerkeep.toml"))
		})
	}
}

func TestANodeWithoutAKnownContainerdIsLeftAlone(t *testing.T) {
	for name, said := range map[string]string{
		"none":    "exit 127",
		"too old": "echo containerd github.com/containerd/containerd 1.5.2 abc",
		"silent":  "true",
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, "")
			require.NoError(t, os.WriteFile(filepath.Join(n.bin, "nsenter"), []byte("#!/bin/sh\n"+said+"\n"), 0o755))
			cmd := exec.Command("sh", installScript, "install")
			cmd.Env = append(os.Environ(), "HOST="+n.dir, "FROM="+n.from, "PATH="+n.bin+":"+os.Getenv("PATH"))
			out, err := cmd.CombinedOutput()
			require.Error(t, err)
			require.Contains(t, string(out), "the node")
			left, err := os.ReadDir(n.dir)
			require.NoError(t, err)
			require.Empty(t, left)
		})
	}
}

func TestANodeIsOfferedRebaseOnlyWithTheDriverThatCan(t *testing.T) {
	const (
		whole   = `capabilities = ["rebase", "remap-ids"]`
		without = `capabilities = ["remap-ids"]`
	)
	for name, c := range map[string]struct{ config, store, want string }{
		"nothing said":       {"", "", whole},
		"overlay2":           {`driver = "overlay2"`, "", whole},
		"btrfs":              {"log-level = \"info\"\n  driver='btrfs' # x", "", without},
		"a comment":          {`# driver = "btrfs"`, "", whole},
		"the store is vfs":   {"", "var/lib/layerkeep", without},
		"the store wins":     {`driver = "overlay2"`, "var/lib/layerkeep", without},
		"the store is there": {`root = "/srv/layers"`, "srv/layers", without},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, "v2.4.2")
			n.ship(t, "containerd/config-2.toml", string(deployFile(t, "containerd/config-2.toml")))
			if c.config != "" {
				n.ship(t, "config.toml", c.config+"\n")
			}
			if c.store != "" {
				require.NoError(t, os.MkdirAll(filepath.Join(n.dir, c.store), 0o755))
				header := "{\n  \"format\": 1,\n  \"driver\": \"vfs\"\n}\n"
				require.NoError(t, os.WriteFile(filepath.Join(n.dir, c.store, "layerkeep.json"), []byte(header), 0o600))
			}
			n.run(t, "install")
			require.Contains(t, n.read(t, "etc/containerd/conf.d/layerkeep.toml"), "\n  "+c.want+"\n")
		})
	}
}

func TestAFailedInstallationOnANodeFails(t *testing.T) {
	n := newNode(t, "v2.4.2")
	require.NoError(t, os.WriteFile(filepath.Join(n.dir, "usr"), nil, 0o644))
	cmd := exec.Command("sh", installScript, "install")
	cmd.Env = append(os.Environ(), "HOST="+n.dir, "FROM="+n.from, "PATH="+n.bin+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	require.Error(t, err)
	require.NotContains(t, string(out), "installed")
}
