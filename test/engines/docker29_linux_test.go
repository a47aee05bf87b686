package engines

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/internal/fstest"
)

// newRunc is a runc that knows time namespaces, which dockerd asks for.
const newRunc = runc15

// A docker29 is a dockerd that keeps images and containers in containerd.
type docker29 struct {
	*process
	containerd *containerd
	host       string
	env        []string
}

// newDocker29 starts containerd with the files of deploy/, and dockerd on it.
func newDocker29(t testing.TB, s *service, sockets string) *docker29 {
	t.Helper()
	c := newContainerdAt(t, containerd2, filepath.Join(workDir(t, ""), "containerd"), sockets, deployed(t, "config-2.toml", s))
	data := workDir(t, "")
	d := &docker29{containerd: c, host: "unix://" + filepath.Join(sockets, "docker.sock"), env: []string{"DOCKER_CONFIG=" + t.TempDir(), "DOCKER_BUILDKIT=0"}}
	config := map[string]any{}
	require.NoError(t, json.Unmarshal(readFile(t, "../../deploy/docker/daemon-containerd.json"), &config))
	require.Equal(t, "layerkeep", config["storage-driver"])
	for key, value := range map[string]any{
		"data-root": filepath.Join(data, "data"), "exec-root": filepath.Join(sockets, "exec"), "pidfile": filepath.Join(sockets, "docker.pid"),
		"hosts": []string{d.host}, "containerd": c.address, "iptables": false, "ip6tables": false, "bridge": "none",
		"runtimes":        map[string]any{"new": map[string]any{"path": program(t, newRunc+"/runc")}},
		"default-runtime": "new",
		// This runc is built without libseccomp.
		"seccomp-profile": "unconfined",
	} {
		config[key] = value
	}
	text, err := json.Marshal(config)
	require.NoError(t, err)
	file := filepath.Join(sockets, "daemon.json")
	writeFile(t, file, text)
	d.process = start(t, sockets, c.env, program(t, moby+"/dockerd"), "--config-file", file)
	d.await(t, func() error {
		_, err := d.try("version")
		return err
	})
	return d
}

func (d *docker29) try(args ...string) (string, error) {
	return tryEnv(d.env, "docker", append([]string{"--host", d.host}, args...)...)
}

func (d *docker29) docker(t testing.TB, args ...string) string {
	t.Helper()
	out, err := d.try(args...)
	require.NoError(t, err)
	return out
}

// changes are the lines of docker diff, which come in no particular order.
func (d *docker29) changes(t testing.TB, container string) []string {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(d.docker(t, "diff", container)), "\n")
	slices.Sort(lines)
	return lines
}

func TestDocker29KeepsItsImagesAndContainersInTheStore(t *testing.T) {
	requirements(t, containerd2+"/containerd", moby+"/dockerd", newRunc+"/runc", "docker")
	img := testImage(t)
	reference := img.push(t, newRegistry(t), "image")
	for _, backend := range []string{"overlay2", "btrfs"} {
		t.Run(backend, func(t *testing.T) {
			did := func(operation string) {
				did(t, "docker (moby/v2)", strings.TrimPrefix(moby, "moby-"), backend, operation)
			}
			sockets := fstest.ShortDir(t)
			s := newService(t, backend, "--containerd-address", filepath.Join(sockets, "containerd.sock"))
			d := newDocker29(t, s, sockets)
			require.Equal(t, "layerkeep\n", d.docker(t, "info", "--format", "{{.Driver}}"))

			d.docker(t, "pull", "--quiet", reference)
			require.Equal(t, "second\n", d.docker(t, "run", "--rm", "--network", "none", reference, "cat", "/etc/motd"))
			did("pull")

			d.docker(t, "run", "--network", "none", "--name", "writer", reference, "sh", "-c",
				"echo new > /new && rm /etc/passwd && mv /data/many /data/moved && echo third > /etc/motd && chmod 700 /usr/bin/noted")
			did("run")

			changes := d.changes(t, "writer")
			for _, want := range []string{"A /new", "D /etc/passwd", "D /data/many", "A /data/moved", "A /data/moved/007", "C /etc/motd", "C /usr/bin/noted"} {
				require.Contains(t, changes, want)
			}
			require.False(t, slices.ContainsFunc(changes, func(c string) bool { return strings.Contains(c, "/bin/busybox") }), "%v", changes)
			did("diff")

			d.docker(t, "commit", "writer", "written:1")
			require.Equal(t, "new\nthird\n199\n", d.docker(t, "run", "--rm", "--network", "none", "written:1", "sh", "-c",
				"cat /new /etc/motd && test ! -e /etc/passwd && test ! -e /data/many && grep -m 1 199 /data/moved/199"))
			did("commit")

			s.restart(t)
			d.containerd.reconnects(t)
			require.Equal(t, "new\n", d.docker(t, "run", "--rm", "--network", "none", "written:1", "cat", "/new"))
			require.Equal(t, changes, d.changes(t, "writer"))
			did("restart of the service")

			build := t.TempDir()
			writeFile(t, filepath.Join(build, "Dockerfile"), []byte("FROM written:1\nRUN rm -r /data/moved && echo built > /built\nCOPY Dockerfile /data/\n"))
			d.docker(t, "build", "--quiet", "--network", "none", "--tag", "built:1", build)
			require.Equal(t, "built\n", d.docker(t, "run", "--rm", "--network", "none", "built:1", "sh", "-c", "test ! -e /data/moved && cat /built"))
			did("build")

			archive := filepath.Join(t.TempDir(), "built.tar")
			d.docker(t, "save", "--output", archive, "built:1")
			d.docker(t, "rmi", "built:1")
			d.docker(t, "load", "--input", archive)
			require.Equal(t, "built\n", d.docker(t, "run", "--rm", "--network", "none", "built:1", "cat", "/built"))
			did("save and load")

			d.docker(t, "rm", "writer")
			d.docker(t, "rmi", "--force", "built:1", "written:1", reference)
			d.docker(t, "image", "prune", "--all", "--force")
			s.awaitNoLayers(t)
			d.stop(t)
			d.containerd.stop(t)
			s.requireEmpty(t)
			d.containerd.requireGone(t)
			did("remove and gc")
		})
	}
}
