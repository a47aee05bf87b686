package engines

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/internal/fstest"
)

// buildStages is what the builds do: everything a layer can say, from an empty
// image on, so that nothing is pulled.
const buildStages = `FROM scratch AS base
COPY rootfs/ /
RUN ["/bin/busybox", "--install", "-s", "/bin"]
ENV PATH=/bin

FROM base AS tool
RUN mkdir -p /opt/tool && printf 'tool\n' > /opt/tool/run && chmod 4755 /opt/tool/run && ln /opt/tool/run /opt/tool/again

FROM base
RUN rm /etc/conf.d/2 && rm -r /usr/share/doc && echo changed > /etc/conf.d/1
RUN mv /etc/conf.d /etc/settings && touch /etc/settings/moved
RUN rm -r /etc/settings && mkdir /etc/settings && echo new > /etc/settings/new && \
    mkdir -p /srv/a/b && echo deep > /srv/a/b/c && chown -R 7:8 /srv && ln -s ../x /srv/link && mknod /srv/pipe p
COPY --from=tool /opt/tool /opt/tool
COPY --link --chown=3:4 data/ /data/
RUN mv /srv /moved && echo more >> /data/sub/file
COPY --link rootfs/etc/conf.d/3 /data/sub/third
`

// buildContext makes a directory with what buildStages copies, and all of it
// old.
func buildContext(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		require.NoError(t, os.Chmod(path, mode))
	}
	busybox, err := os.ReadFile(program(t, "busybox"))
	require.NoError(t, err)
	write("rootfs/bin/busybox", string(busybox), 0o755)
	for _, n := range []string{"1", "2", "3"} {
		write("rootfs/etc/conf.d/"+n, n+"\n", 0o644)
		write("rootfs/usr/share/doc/"+n, "doc "+n+"\n", 0o640)
	}
	for _, empty := range []string{"tmp", "proc", "sys", "dev"} {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, "rootfs", empty), 0o755))
	}
	write("data/sub/file", strings.Repeat("data\n", 1000), 0o644)
	require.NoError(t, os.Symlink("file", filepath.Join(dir, "data/sub/link")))
	then := time.Date(2020, 2, 2, 2, 2, 2, 0, time.UTC)
	require.NoError(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.Type()&os.ModeSymlink != 0 {
			return err
		}
		return os.Chtimes(path, then, then)
	}))
	return dir
}

// A builder is a running buildkitd with a state of its own.
type builder struct {
	*process
	dir, address string
	args         []string
}

// newBuilder starts a buildkitd with the snapshotter on a socket of a service,
// or with its own overlayfs when there is none.
func newBuilder(t testing.TB, snapshotter string) *builder {
	t.Helper()
	dir, state := fstest.ShortDir(t), workDir(t, "")
	b := &builder{dir: dir, address: "unix://" + filepath.Join(dir, "buildkitd.sock")}
	b.args = []string{
		"--config", os.DevNull, "--root", state, "--addr", b.address,
		"--oci-worker", "true", "--containerd-worker=false", "--oci-worker-net", "host", "--oci-worker-binary", program(t, "runc"),
	}
	if snapshotter == "" {
		b.args = append(b.args, "--oci-worker-snapshotter", "overlayfs")
	} else {
		b.args = append(b.args, "--oci-worker-snapshotter", "layerkeep", "--oci-worker-proxy-snapshotter-path", snapshotter)
	}
	b.start(t)
	return b
}

func (b *builder) start(t testing.TB) {
	t.Helper()
	b.process = start(t, b.dir, nil, program(t, buildkit+"/buildkitd"), b.args...)
	b.await(t, func() error {
		_, _, err := b.buildctl("debug", "workers")
		return err
	})
}

// buildctl runs a command and returns what it printed and what it reported.
func (b *builder) buildctl(args ...string) (output, progress string, err error) {
	path, err := findProgram(buildkit + "/buildctl")
	if err != nil {
		return "", "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), runWithin)
	defer cancel()
	var out, said bytes.Buffer
	cmd := exec.CommandContext(ctx, path, append([]string{"--addr", b.address}, args...)...)
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return "", "", fmt.Errorf("buildctl %s: %w\n%s", args[0], err, said.String())
	}
	return out.String(), said.String(), nil
}

// build builds stages with the files of dir and returns the layers of the
// image, and what was said.
func (b *builder) build(t testing.TB, dir, stages string) (layers []layerTree, progress string) {
	t.Helper()
	temp := t.TempDir()
	out := filepath.Join(temp, "image.tar")
	writeFile(t, filepath.Join(temp, "Dockerfile"), []byte(stages))
	eventually(t, readyWithin, func() (err error) {
		_, progress, err = b.buildctl("build", "--progress", "plain", "--frontend", "dockerfile.v0",
			"--local", "context="+dir, "--local", "dockerfile="+temp, "--output", "type=oci,dest="+out)
		// For about a second after the service was away, see docs/engines.md.
		if err != nil && !strings.Contains(err.Error(), "connection refused") {
			require.NoError(t, err)
		}
		return err
	})
	return imageLayers(t, out), progress
}

// prune empties the builder's cache.
func (b *builder) prune(t testing.TB) {
	t.Helper()
	_, _, err := b.buildctl("prune", "--all")
	require.NoError(t, err)
}

// requireCached requires that a build of buildStages has found everything done.
func requireCached(t testing.TB, progress string) {
	t.Helper()
	steps := strings.Count(buildStages, "RUN") + strings.Count(buildStages, "COPY")
	require.Equal(t, steps, strings.Count(progress, " CACHED"), progress)
}

func TestBuildKitMakesTheLayersThatItMakesWithItsOwnSnapshotter(t *testing.T) {
	requirements(t, buildkit)
	dir := buildContext(t)
	began := time.Now()
	reference := newBuilder(t, "")
	want, _ := reference.build(t, dir, buildStages)
	reference.stop(t)
	require.Len(t, want, 9)

	for _, backend := range []string{"overlay2", "btrfs", "vfs"} {
		t.Run(backend, func(t *testing.T) {
			s := newService(t, backend)
			b := newBuilder(t, s.address)
			got, _ := b.build(t, dir, buildStages)
			requireSameLayers(t, want, got, began)
			version := strings.TrimPrefix(buildkit, "buildkit-")
			did(t, "buildkit", version, backend, "build")
			did(t, "buildkit", version, backend, "layers as with its own snapshotter")

			s.restart(t)
			again, progress := b.build(t, dir, buildStages)
			require.Equal(t, got, again)
			requireCached(t, progress)
			longer, _ := b.build(t, dir, buildStages+"RUN rm -r /moved\n")
			require.Len(t, longer, len(want)+1)
			require.Equal(t, []string{".wh.moved"}, longer[len(want)].names())
			did(t, "buildkit", version, backend, "restart of the service")

			b.prune(t)
			s.awaitNoLayers(t)
			b.stop(t)
			s.requireEmpty(t)
			did(t, "buildkit", version, backend, "remove and gc")
		})
	}
}

func TestBuildKitBuildsAfterTheServiceWasKilledUnderABuild(t *testing.T) {
	requirements(t, buildkit)
	dir := buildContext(t)
	s := newService(t, "overlay2")
	b := newBuilder(t, s.address)
	done := make(chan error, 1)
	go func() {
		temp := t.TempDir()
		if err := os.WriteFile(filepath.Join(temp, "Dockerfile"), []byte(buildStages), 0o600); err != nil {
			done <- err
			return
		}
		_, _, err := b.buildctl("build", "--progress", "plain", "--frontend", "dockerfile.v0", "--local", "context="+dir, "--local", "dockerfile="+temp)
		done <- err
	}()
	eventually(t, readyWithin, func() error {
		if dirs := s.layerDirs(t); len(dirs) < 6 {
			return fmt.Errorf("only %d layers", len(dirs))
		}
		return nil
	})
	s.kill()
	s.start(t)
	select {
	case err := <-done:
		t.Logf("the build under which the service was killed: %v", err)
	case <-time.After(runWithin):
		require.FailNow(t, "the build does not end")
	}
	got, _ := b.build(t, dir, buildStages)
	require.Len(t, got, 9)
	require.Contains(t, got[8].names(), "data/sub/third")

	// What a build used that failed in this way stays in use to this buildkitd.
	b.stop(t)
	b.start(t)
	b.prune(t)
	s.awaitNoLayers(t)
	b.stop(t)
	s.requireEmpty(t)
	did(t, "buildkit", strings.TrimPrefix(buildkit, "buildkit-"), "overlay2", "kill -9 during build")
}

func TestEnginesOnSocketsOfTheirOwnLeaveEachOthersSnapshotsAlone(t *testing.T) {
	requirements(t, buildkit, containerd2+"/containerd")
	dir, img := buildContext(t), testImage(t)
	sockets := fstest.ShortDir(t)
	s := newService(t, "overlay2", "--engine", "buildkit={dir}/buildkit.sock", "--metrics-address", "unix://{dir}/metrics.sock", "--containerd-address", filepath.Join(sockets, "containerd.sock"))
	b := newBuilder(t, filepath.Join(s.dir, "buildkit.sock"))
	c := newContainerdAt(t, containerd2, filepath.Join(workDir(t, ""), "containerd"), sockets, deployed(t, "config-2.toml", s))

	c.ctr(t, "images", "import", "--snapshotter", "layerkeep", "--base-name", "image", img.archive)
	imported := len(s.layerDirs(t))
	require.Positive(t, imported)
	b.build(t, dir, buildStages)
	require.Greater(t, len(s.layerDirs(t)), imported)

	metrics := scrape(t, filepath.Join(s.dir, "metrics.sock"))
	require.EqualValues(t, imported, metrics[`layerkeep_snapshots{driver="overlay2",kind="committed",scope="containerd"}`])
	require.Positive(t, metrics[`layerkeep_snapshots{driver="overlay2",kind="committed",scope="buildkit"}`])
	require.Positive(t, metrics[`layerkeep_snapshot_bytes{driver="overlay2",kind="committed",scope="buildkit"}`])
	require.EqualValues(t, img.layers, metrics[`layerkeep_operations_total{code="OK",driver="overlay2",op="apply"}`])
	require.Positive(t, metrics[`layerkeep_layer_bytes_total{driver="overlay2",op="apply"}`])
	require.EqualValues(t, img.layers, metrics[`layerkeep_grpc_requests_total{code="OK",method="/containerd.services.diff.v1.Diff/Apply"}`])

	b.prune(t)
	eventually(t, readyWithin, func() error {
		if left := len(s.layerDirs(t)); left != imported {
			return fmt.Errorf("%d layers, of which containerd's are %d", left, imported)
		}
		return nil
	})

	b.build(t, dir, buildStages)
	name := strings.TrimSpace(c.ctr(t, "images", "ls", "--quiet"))
	require.Equal(t, "second\n", c.ctr(t, "run", "--rm", "--snapshotter", "layerkeep", name, "reader", "cat", "/etc/motd"))
	c.ctr(t, "images", "rm", "--sync", name)
	_, progress := b.build(t, dir, buildStages)
	requireCached(t, progress)

	b.prune(t)
	s.awaitNoLayers(t)
	b.stop(t)
	c.stop(t)
	s.requireEmpty(t)
	did(t, "buildkit", strings.TrimPrefix(buildkit, "buildkit-"), "overlay2", "another engine on the same store")
	did(t, "containerd", c.version, "overlay2", "another engine on the same store")
}
