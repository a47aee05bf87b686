package engines

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/internal/fstest"
)

// graphDriverConfig is the configuration of dockerd that we ship.
const graphDriverConfig = "../../deploy/docker/daemon-graphdriver.json"

// A docker20 is a dockerd with graph drivers, with private directories, that
// keeps its layers with the service.
type docker20 struct {
	*process
	*service
	plugin  string // the name of the plugin
	env     []string
	dir     string
	version string
}

// newDocker20 starts a service on a new store and a dockerd that uses it.
func newDocker20(t testing.TB, backend string) *docker20 {
	t.Helper()
	requirements(t, "dockerd", "docker", "containerd")
	binary := program(t, "dockerd")
	d := &docker20{dir: filepath.Join(workDir(t, ""), "docker"), version: versionOf(t, binary, "--version")}
	if major, _, _ := strings.Cut(d.version, "."); len(major) != 2 || major > "24" {
		skip(t, "Docker "+d.version+" has no graph driver plugins: the last that has is 24")
	}
	// The place of the socket is fixed in Docker, so the name has to be our own.
	d.plugin = fmt.Sprintf("lk%d-%s", os.Getpid(), backend)
	d.service = newService(t, backend, "--graphdriver", d.plugin, "--graphdriver-mounts", "{dir}/graph")
	sockets := fstest.ShortDir(t)
	d.env = []string{
		"DOCKER_HOST=unix://" + filepath.Join(sockets, "docker.sock"), "DOCKER_CONFIG=" + t.TempDir(), "DOCKER_BUILDKIT=0",
	}
	d.process = start(t, sockets, []string{"PATH=" + os.Getenv("PATH") + ":/usr/sbin:/sbin"}, binary,
		"--config-file", d.config(t, sockets), "--data-root", filepath.Join(d.dir, "data"), "--exec-root", filepath.Join(sockets, "exec"),
		"--pidfile", filepath.Join(sockets, "docker.pid"), "-H", "unix://"+filepath.Join(sockets, "docker.sock"),
		"--iptables=false", "--bridge=none")
	d.process.await(t, func() error {
		_, err := d.try("info")
		return err
	})
	require.Contains(t, d.run(t, "info"), "Storage Driver: "+d.plugin)
	return d
}

// config writes the configuration that we ship, with the name of this plugin.
func (d *docker20) config(t testing.TB, dir string) string {
	t.Helper()
	text, err := os.ReadFile(graphDriverConfig)
	require.NoError(t, err)
	named := strings.ReplaceAll(string(text), `"layerkeep"`, `"`+d.plugin+`"`)
	require.NotEqual(t, string(text), named)
	path := filepath.Join(dir, "daemon.json")
	writeFile(t, path, []byte(named))
	return path
}

func (d *docker20) try(args ...string) (string, error) { return tryEnv(d.env, "docker", args...) }

// run runs a command of the client that has to succeed.
func (d *docker20) run(t testing.TB, args ...string) string {
	t.Helper()
	out, err := d.try(args...)
	require.NoError(t, err)
	return strings.TrimSpace(out)
}

// sh runs a script in a new container of the image, which is removed.
func (d *docker20) sh(t testing.TB, image, script string) string {
	t.Helper()
	return d.run(t, "run", "--rm", "--network", "none", image, "sh", "-ec", script)
}

func (d *docker20) did(t testing.TB, operation string) {
	t.Helper()
	did(t, "docker", d.version, d.backend, operation)
}

// tree returns what the layers of an image show: the plugin is asked to mount
// the topmost.
func (d *docker20) tree(t testing.TB, image string) fstest.Tree {
	t.Helper()
	snapshot := d.run(t, "image", "inspect", "--format", "{{.GraphDriver.Data.Snapshot}}", image)
	id := snapshot[strings.LastIndex(snapshot, "/")+1:]
	dir := d.call(t, "Get", id)
	defer d.call(t, "Put", id)
	return fstest.FromPath(t, dir)
}

// call makes a call of the plugin protocol, and returns the directory in its
// answer.
func (d *docker20) call(t testing.TB, method, id string) (dir string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", "/run/docker/plugins/"+d.plugin+".sock")
	}}}
	body, err := json.Marshal(map[string]string{"ID": id})
	require.NoError(t, err)
	resp, err := client.Post("http://plugin/GraphDriver."+method, "application/json", bytes.NewReader(body))
	require.NoError(t, err)
	defer resp.Body.Close()
	var answer struct{ Dir, Err string }
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&answer))
	require.Empty(t, answer.Err, "%s %s", method, id)
	return answer.Dir
}

// removeAll removes all containers and images, and requires that nothing of
// them is left.
func (d *docker20) removeAll(t testing.TB) {
	t.Helper()
	if ids := strings.Fields(d.run(t, "ps", "-aq")); len(ids) > 0 {
		d.run(t, append([]string{"rm", "-f"}, ids...)...)
	}
	if ids := strings.Fields(d.run(t, "images", "-aq")); len(ids) > 0 {
		d.run(t, append([]string{"rmi", "-f"}, ids...)...)
	}
	require.Empty(t, fstest.MountsBelow(t, d.service.dir), "mounts of layers left over")
	d.process.stop(t)
	d.requireEmpty(t)
	d.did(t, "remove and gc")
}

// TestDockerKeepsItsLayersHere is the life of images and containers with the
// graph driver plugin.
func TestDockerKeepsItsLayersHere(t *testing.T) {
	for _, backend := range []string{"overlay2", "btrfs", "vfs"} {
		t.Run(backend, func(t *testing.T) {
			d := newDocker20(t, backend)
			img := testImage(t)
			ref := img.push(t, newRegistry(t), "test")
			d.pullsAndRuns(t, ref, img)
			d.restarts(t, ref)
			d.diffsAndCommits(t, ref)
			d.builds(t, ref)
			d.savesAndLoads(t, ref, img)
			d.removeAll(t)
		})
	}
}

func (d *docker20) pullsAndRuns(t *testing.T, ref string, img image) {
	t.Helper()
	d.run(t, "pull", "-q", ref)
	fstest.RequireEqual(t, img.tree, d.tree(t, ref), "the tree of the image that was pulled")
	d.did(t, "pull")
	require.Equal(t, "second\nwritten", d.sh(t, ref, "cat /etc/motd; echo written > /data/file; cat /data/file; test ! -e /data/file.none"))
	require.Equal(t, "second", d.sh(t, ref, "cat /etc/motd; test ! -e /data/file"), "nothing of one container is in the next")
	d.did(t, "run")
	if d.backend == "btrfs" {
		_, err := d.try("run", "--rm", "--network", "none", "--storage-opt", "size=16M", ref, "sh", "-ec", "busybox dd if=/dev/zero of=/data/big bs=1M count=48; sync")
		require.ErrorContains(t, err, "Disk quota exceeded")
		d.did(t, "size limit")
	}
}

// restarts restarts the service under a running container.
func (d *docker20) restarts(t *testing.T, ref string) {
	t.Helper()
	d.run(t, "run", "-d", "--name", "long", "--network", "none", ref, "sh", "-c", "echo before > /before; sleep 1000")
	eventually(t, readyWithin, func() error {
		_, err := d.try("exec", "long", "cat", "/before")
		return err
	})
	d.did(t, "exec")
	d.service.restart(t)
	require.Equal(t, "before", d.run(t, "exec", "long", "cat", "/before"))
	d.service.kill()
	d.service.start(t)
	d.run(t, "exec", "long", "sh", "-c", "echo after > /after")
	d.run(t, "cp", "long:/after", filepath.Join(t.TempDir(), "after"))
	require.Contains(t, d.run(t, "diff", "long"), "A /after")
	d.run(t, "stop", "-t", "0", "long")
	d.run(t, "start", "long")
	require.Equal(t, "before\nafter", d.run(t, "exec", "long", "cat", "/before", "/after"))
	require.Equal(t, "second", d.sh(t, ref, "cat /etc/motd"))
	d.run(t, "rm", "-f", "long")
	d.did(t, "restart of the service")
}

func (d *docker20) diffsAndCommits(t *testing.T, ref string) {
	t.Helper()
	d.run(t, "run", "--name", "edits", "--network", "none", ref, "sh", "-ec",
		"echo new > /data/new; rm /etc/issue; mv /data/many /data/moved; chmod 700 /data/old; echo more >> /etc/motd")
	diff := strings.Split(d.run(t, "diff", "edits"), "\n")
	for _, line := range []string{"A /data/new", "C /data", "D /etc/issue", "D /data/many", "A /data/moved", "A /data/moved/000", "C /data/old", "C /etc/motd"} {
		require.Contains(t, diff, line)
	}
	require.NotContains(t, diff, "C /bin")
	d.did(t, "diff")
	d.run(t, "commit", "edits", "committed")
	require.Equal(t, "new\nsecond\nmore", d.sh(t, "committed", "cat /data/new /etc/motd; test ! -e /etc/issue; test ! -e /data/many; test -e /data/moved/199"))
	d.did(t, "commit")
}

func (d *docker20) builds(t *testing.T, ref string) {
	t.Helper()
	dir := docker20Context(t, ref)
	d.run(t, "build", "-q", "--network", "none", "-t", "built", dir)
	d.checkBuilt(t)
	d.did(t, "build")
}

// docker20Context makes a directory with a Dockerfile of two stages.
func docker20Context(t testing.TB, ref string) string {
	t.Helper()
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "copied"), []byte("copied\n"))
	writeFile(t, filepath.Join(dir, "Dockerfile"), []byte(`FROM `+ref+` AS first
RUN mv /data /moved && mkdir /data && echo x > /data/x && rm /etc/motd
FROM `+ref+`
COPY copied /data/copied
COPY --from=first /data /from-first
RUN rm -r /data/many && mv /usr /usr2 && chmod 4755 /data/copied
`))
	return dir
}

// checkBuilt checks what was built of it.
func (d *docker20) checkBuilt(t testing.TB) {
	t.Helper()
	require.Equal(t, "copied\nx\nsecond\nsetuid", d.sh(t, "built", `cat /data/copied /from-first/x /etc/motd
test ! -e /data/many; test ! -e /usr; test -u /data/copied; ls /usr2/bin | grep setuid`))
}

// savesAndLoads compares the trees before and after, of what was loaded and of
// what was pushed and pulled again.
func (d *docker20) savesAndLoads(t *testing.T, ref string, img image) {
	t.Helper()
	want := d.tree(t, "built")
	repository, _, _ := strings.Cut(ref, "/")
	pushed := repository + "/built:" + tag
	d.run(t, "tag", "built", pushed)
	d.run(t, "push", "-q", pushed)
	archive := filepath.Join(t.TempDir(), "saved.tar")
	d.run(t, "save", "-o", archive, "built", ref)
	d.run(t, "rmi", "-f", "built", pushed, ref)
	d.run(t, "load", "-q", "-i", archive)
	fstest.RequireEqual(t, want, d.tree(t, "built"), "the tree of the image that was loaded")
	fstest.RequireEqual(t, img.tree, d.tree(t, ref), "the tree of the image that was loaded")
	d.did(t, "save and load")
	d.run(t, "rmi", "-f", "built")
	d.run(t, "pull", "-q", pushed)
	fstest.RequireEqual(t, want, d.tree(t, pushed), "the tree of the image that was pushed")
	d.did(t, "push")
}

// TestDockerGoesOnAfterItsGraphDriverWasKilled kills the service at several
// moments of a pull.
func TestDockerGoesOnAfterItsGraphDriverWasKilled(t *testing.T) {
	d := newDocker20(t, "overlay2")
	img := testImage(t)
	ref := img.push(t, newRegistry(t), "test")
	hit := 0
	for _, after := range []time.Duration{0, 20, 80} {
		before := d.service.layerDirs(t)
		var pulled error
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, pulled = d.try("pull", "-q", ref)
		}()
		if d.service.killUnder(t, done, before, after*time.Millisecond) {
			hit++
		}
		d.service.start(t)
		<-done
		if pulled != nil {
			t.Logf("killed after %d ms: %v", after, pulled)
			d.run(t, "pull", "-q", ref)
		}
		fstest.RequireEqual(t, img.tree, d.tree(t, ref), "the tree of the image that was pulled")
		require.Equal(t, "second", d.sh(t, ref, "cat /etc/motd"))
		d.run(t, "rmi", "-f", ref)
	}
	require.NotZero(t, hit, "no pull was under way when the service was killed")
	d.did(t, "kill -9 during pull")
	d.removeAll(t)
}
