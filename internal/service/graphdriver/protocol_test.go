package graphdriver

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/snapshotter"
)

func TestThePluginSaysWhatItIs(t *testing.T) {
	p := newPlugin(t, "overlay2")
	require.Equal(t, []string{"GraphDriver"}, p.call("Plugin.Activate", nil).Implements)
	require.Equal(t, map[string]bool{"ReproducesExactDiffs": false}, p.call("GraphDriver.Capabilities", request{}).Capabilities)
	status, raw, err := p.post("Plugin.Activate", nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status, "%s", raw)
	require.Contains(t, p.do("Status", request{}).Status, [2]string{"Driver", "overlay2"})
	require.Equal(t, "docker-"+testName, p.driver.Scope())
}

func TestWhatIsNoCallIsRefused(t *testing.T) {
	p := newPlugin(t, "overlay2")
	for name, c := range map[string]struct {
		path, body string
		want       int
	}{
		"an unknown call":     {"NetworkDriver.GetCapabilities", "{}", http.StatusNotFound},
		"no JSON":             {"GraphDriver.Create", "nonsense", http.StatusBadRequest},
		"another type":        {"GraphDriver.Create", `{"ID":1}`, http.StatusBadRequest},
		"two values":          {"GraphDriver.Create", `{"ID":"a"}{"ID":"b"}`, http.StatusBadRequest},
		"a request too large": {"GraphDriver.Create", `{"ID":"` + strings.Repeat("a", maxRequest) + `"}`, http.StatusBadRequest},
		"a diff of no JSON":   {"GraphDriver.Diff", "[", http.StatusBadRequest},
		"a diff of nothing":   {"GraphDriver.Diff", `{"ID":"missing"}`, http.StatusNotFound},
		"a diff of no ID":     {"GraphDriver.Changes", `{"ID":"../x"}`, http.StatusBadRequest},
	} {
		status, raw, err := p.post(c.path, strings.NewReader(c.body))
		require.NoError(t, err, name)
		require.Equal(t, c.want, status, name)
		require.NotEmpty(t, p.parse(raw).Err, name)
	}
	resp, err := p.client.Get("http://plugin/GraphDriver.Create")
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusNotFound, resp.StatusCode)
}

func TestIDsNeverBecomeOtherPaths(t *testing.T) {
	p := newPlugin(t, "overlay2")
	for _, id := range []string{"", ".", "..", "../x", "a/b", "a/rw", ".hidden", "a\x00b", "a b", "@other", strings.Repeat("a", 129)} {
		for _, method := range []string{"Create", "CreateReadWrite", "Remove", "Get", "Put", "Exists", "GetMetadata", "DiffSize"} {
			p.refused(method, request{ID: id}, "layer ID")
		}
		require.Contains(t, p.apply(id, "", bytes.NewReader(nil)).Err, "layer ID")
		if id != "" {
			p.refused("Create", request{ID: "ok", Parent: id}, "layer ID")
		}
	}
	p.requireNothingLeft()
}

func TestWhatCannotBeHonouredIsRefused(t *testing.T) {
	p := newPlugin(t, "overlay2")
	p.refused("Init", initRequest{Opts: []string{"a=b"}}, "storage options")
	p.refused("Init", initRequest{UIDMaps: []idMap{{0, 100000, 65536}}}, "userns-remap")
	p.refused("Create", request{ID: "l", StorageOpt: map[string]string{"inodes": "5"}}, "only size")
	p.refused("Create", request{ID: "l", StorageOpt: map[string]string{"size": "big"}}, "not a size")
	p.refused("Create", request{ID: "l", StorageOpt: map[string]string{"size": "1G"}}, "cannot limit the size")
	p.refused("Create", request{ID: "l", MountLabel: "system_u:object_r:x"}, "SELinux")
	p.do("Create", request{ID: "l", StorageOpt: map[string]string{"size": "0"}})
	p.refused("Get", request{ID: "l", MountLabel: "system_u:object_r:x"}, "SELinux")
	require.Empty(t, p.mountedIDs())
}

func TestASizeLimitHolds(t *testing.T) {
	p := newPlugin(t, "btrfs")
	if !p.store.Driver().Properties().Quota {
		t.Skip("no quotas on this btrfs")
	}
	p.image("base", "", fstest.File("f", "1"))
	p.do("CreateReadWrite", request{ID: "l", Parent: "base", StorageOpt: map[string]string{"Size": "8M"}})
	p.do("CreateReadWrite", request{ID: "l", Parent: "base", StorageOpt: map[string]string{"size": "8MiB"}})
	p.refused("CreateReadWrite", request{ID: "l", Parent: "base"}, "already exists")
	p.mounted("l", func(dir string) {
		require.Error(t, os.WriteFile(filepath.Join(dir, "big"), bytes.Repeat([]byte{1}, 32<<20), 0o600))
	})
	p.do("Remove", request{ID: "l"})
	p.do("Remove", request{ID: "base"})
	p.requireNothingLeft()
}

func TestSizesAreReadAsDockerReadsThem(t *testing.T) {
	for text, want := range map[string]int64{
		"1": 1, "1k": 1 << 10, "10G": 10 << 30, "10GB": 10 << 30, "10gib": 10 << 30, "1.5m": 3 << 19, "2 T": 2 << 40, "7b": 7, "0": 0,
	} {
		got, err := parseSize(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{"", "G", "-1", "1x", "1e9", "9999999p", "1 G B", "0x10"} {
		_, err := parseSize(text)
		require.Error(t, err, text)
	}
}

func TestNamesOfPluginsAreChecked(t *testing.T) {
	for _, name := range []string{"", "../x", "A", "a/b", ".a", strings.Repeat("a", 58)} {
		_, err := SocketPath("", name)
		require.Error(t, err, name)
		_, err = New(t.Context(), new(snapshotter.Snapshotter), Options{Name: name})
		require.Error(t, err, name)
	}
	path, err := SocketPath("", "layerkeep")
	require.NoError(t, err)
	require.Equal(t, "/run/docker/plugins/layerkeep.sock", path)
}

func TestMetadataNamesTheDirectories(t *testing.T) {
	onEveryBackend(t, func(t *testing.T, p *plugin) {
		p.image("base", "", fstest.File("f", "1"))
		data := p.do("GetMetadata", request{ID: "base"}).Metadata
		require.Equal(t, "committed", data["Kind"])
		require.Equal(t, "@docker-test/base", data["Snapshot"])
		require.Equal(t, p.store.Driver().Name(), data["Driver"])
		require.Equal(t, filepath.Join(p.mounts, testName, "base"), data["MergedDir"])
		require.NotEmpty(t, data["LowerDir"]+data["Dir"])
		p.refused("GetMetadata", request{ID: "missing"}, "not found")
	})
}
