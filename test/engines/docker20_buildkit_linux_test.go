package engines

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/internal/fstest"
)

// TestDockerBuildsWithItsOwnBuildKitHere: the BuildKit in Docker 20.10 works
// with layers of the graph driver in ways of its own: it writes to them without
// having asked for one that is read-write, and makes others on them later.
func TestDockerBuildsWithItsOwnBuildKitHere(t *testing.T) {
	for _, backend := range []string{"overlay2", "btrfs"} {
		t.Run(backend, func(t *testing.T) {
			requirements(t, buildkit+"/buildctl")
			d := newDocker20(t, backend)
			ref := testImage(t).push(t, newRegistry(t), "test")
			d.run(t, "pull", "-q", ref)
			address := buildKitOf(t, strings.TrimPrefix(d.env[0], "DOCKER_HOST=unix://"))
			dir := docker20Context(t, ref)
			run(t, program(t, buildkit+"/buildctl"), "--addr", address, "build", "--frontend", "dockerfile.v0", "--progress", "plain",
				"--local", "context="+dir, "--local", "dockerfile="+dir, "--opt", "force-network-mode=none", "--output", "type=moby,name=built")
			d.checkBuilt(t)
			d.did(t, "build with BuildKit")
			d.run(t, "rmi", "-f", "built", ref)
			run(t, program(t, buildkit+"/buildctl"), "--addr", address, "prune", "--all")
			d.removeAll(t)
		})
	}
}

// buildKitOf returns an address at which the BuildKit of a dockerd answers. The
// daemon has it on its own socket, behind an upgrade of the connection.
func buildKitOf(t testing.TB, docker string) string {
	t.Helper()
	socket := filepath.Join(fstest.ShortDir(t), "buildkit.sock")
	l, err := net.Listen("unix", socket)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return // closed
			}
			go func() {
				defer client.Close()
				if err := relay(client, docker); err != nil {
					t.Logf("relay to BuildKit: %v", err)
				}
			}()
		}
	}()
	return "unix://" + socket
}

// relay connects the client with the BuildKit of a dockerd.
func relay(client net.Conn, docker string) error {
	daemon, err := net.Dial("unix", docker)
	if err != nil {
		return err
	}
	defer daemon.Close()
	if _, err := fmt.Fprint(daemon, "POST /grpc HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"); err != nil {
		return err
	}
	from := bufio.NewReader(daemon)
	resp, err := http.ReadResponse(from, nil)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return fmt.Errorf("docker answers %s", resp.Status)
	}
	go func() {
		_, _ = io.Copy(daemon, client) // ends with either
		daemon.Close()
	}()
	_, _ = io.Copy(client, from)
	return nil
}
