package realimage

import (
	"bufio"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// cacheDir is where the root file system outlives a test run.
func cacheDir(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("LAYERKEEP_TEST_CACHE")
	if dir == "" {
		dir = "/var/cache/layerkeep-test"
	}
	require.NoError(t, os.MkdirAll(dir, 0o755))
	return dir
}

// debian returns a tar archive of a minimal Debian root file system, from the
// cache or else made now, which takes a minute or two.
func debian(t *testing.T) string {
	t.Helper()
	dir := cacheDir(t)
	suite := osRelease(t)["VERSION_CODENAME"]
	if suite == "" {
		t.Skip("/etc/os-release has no VERSION_CODENAME to give to debootstrap")
	}
	archive := filepath.Join(dir, "debootstrap-minbase-"+suite+"-"+runtime.GOARCH+".tar")
	if _, err := os.Stat(archive); err == nil {
		return archive
	}
	mirror := aptMirror(t, suite)
	scratch, err := os.MkdirTemp(dir, ".making-")
	require.NoError(t, err)
	defer os.RemoveAll(scratch)
	root := filepath.Join(scratch, "root")
	t.Logf("making a %s root file system, kept in %s", suite, archive)
	run(t, "debootstrap", "--variant=minbase", suite, root, mirror)
	dropDownloads(t, root)

	made := filepath.Join(scratch, "root.tar")
	run(t, "tar", "--format=pax", "--sort=name", "--numeric-owner", "--xattrs", "--xattrs-include=*",
		"--pax-option=delete=atime,delete=ctime", "-C", root, "-cf", made, ".")
	syncFile(t, made)
	require.NoError(t, os.Rename(made, archive))
	return archive
}

// dropDownloads removes the packages debootstrap leaves behind.
func dropDownloads(t *testing.T, root string) {
	t.Helper()
	debs, err := filepath.Glob(filepath.Join(root, "var/cache/apt/archives/*.deb"))
	require.NoError(t, err)
	for _, deb := range debs {
		require.NoError(t, os.Remove(deb))
	}
}

func syncFile(t *testing.T, name string) {
	t.Helper()
	f, err := os.Open(name)
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	require.NoError(t, f.Close())
}

func osRelease(t *testing.T) map[string]string {
	t.Helper()
	f, err := os.Open("/etc/os-release")
	if err != nil {
		t.Skip("no /etc/os-release: not a machine debootstrap knows")
	}
	defer f.Close()
	values := map[string]string{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if name, value, ok := strings.Cut(lines.Text(), "="); ok {
			values[name] = strings.Trim(value, `"`)
		}
	}
	return values
}

// aptMirror returns the address of the archive this machine itself installs
// from, once it has answered.
func aptMirror(t *testing.T, suite string) string {
	t.Helper()
	out, err := exec.Command("apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)",
		"Created-By: Packages").Output()
	if err != nil {
		t.Skipf("apt-get cannot name its sources: %v", err)
	}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		if len(fields) != 3 || fields[1] != suite || fields[2] != "main" {
			continue
		}
		if reason := unreachable(fields[0] + "dists/" + suite + "/InRelease"); reason != "" {
			t.Skip("no root file system in the cache, and the archive of apt's sources does not answer: " + reason)
		}
		return fields[0]
	}
	t.Skipf("no root file system in the cache, and apt has no source for %s main", suite)
	return ""
}

func unreachable(url string) string {
	client := http.Client{Timeout: time.Minute}
	resp, err := client.Get(url)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return resp.Status
	}
	return ""
}
