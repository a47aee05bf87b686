package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"testing"
	"time"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/proxy"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/layerkeep/layerkeep/client"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/internal/service/config"
	"github.com/layerkeep/layerkeep/snapshotter"
)

// served is a store with a server of it, and a client of that as an engine is
// one.
type served struct {
	t       *testing.T
	root    string
	store   *snapshotter.Snapshotter
	config  config.Config
	log     *syncBuffer
	conn    *grpc.ClientConn
	engine  snapshots.Snapshotter
	cancel  context.CancelFunc
	done    chan error
	stopped bool
	tools   []*client.Client
}

// start serves a new store in root, until the test ends or stop is called.
func start(t *testing.T, root, name string, change func(*config.Config)) *served {
	t.Helper()
	run := fstest.ShortDir(t)
	s := &served{t: t, root: root, config: config.Default(), log: &syncBuffer{}, done: make(chan error, 1)}
	s.config.Address = filepath.Join(run, "s.sock")
	s.config.ContainerdAddress = filepath.Join(run, "containerd.sock")
	if change != nil {
		change(&s.config)
	}
	require.NoError(t, s.config.Check())
	log := slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var err error
	s.store, err = snapshotter.Open(t.Context(), root, snapshotter.Options{Driver: name, Logger: log, Address: s.config.Address})
	if errors.Is(err, driver.ErrUnsupported) {
		t.Skipf("no store can be made in %s: %v", root, err)
	}
	require.NoError(t, err)
	server, err := New(s.store, Options{Config: s.config, Version: "test", Logger: log})
	require.NoError(t, err)
	sockets, err := OpenSockets(s.config, &Activation{}, log)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	s.cancel = cancel
	go func() { s.done <- server.ServeAll(ctx, sockets) }()
	s.conn = dial(t, s.config.Address)
	s.engine = proxy.NewSnapshotter(snapshotsapi.NewSnapshotsClient(s.conn), "layerkeep")
	connects(t, s.config.Address)
	_, err = s.engine.Stat(asEngine(t), "what is not there")
	require.ErrorIs(t, err, errdefs.ErrNotFound) // by now there is a connection
	t.Cleanup(func() {
		if !s.stopped {
			require.NoError(t, s.stop(), s.log)
		}
	})
	return s
}

// stop ends the server, then closes the store.
func (s *served) stop() error {
	s.stopped = true
	s.cancel()
	err := <-s.done
	for _, c := range s.tools {
		_ = c.Close() // closed by some tests
	}
	_ = s.conn.Close() // the same
	require.NoError(s.t, s.store.Close())
	return err
}

// tool is a client as snapctl is one.
func (s *served) tool() *client.Client {
	s.t.Helper()
	c, err := client.Dial(s.t.Context(), s.config.Address)
	require.NoError(s.t, err)
	s.tools = append(s.tools, c)
	return c
}

func dial(t *testing.T, path string, opts ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("unix:"+path, append(opts, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() }) // closed by some tests
	return conn
}

// asEngine is a context of calls in an engine's namespace.
func asEngine(t *testing.T) context.Context {
	t.Helper()
	return namespaces.WithNamespace(t.Context(), "testing")
}

// footprint is what a process holds of the machine.
type footprint struct {
	goroutines int
	files      []string
	mounts     []string
}

func footprintOf(t *testing.T, root string) footprint {
	t.Helper()
	f := footprint{goroutines: runtime.NumGoroutine()}
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	for _, e := range entries {
		// One is that of the directory itself, which is closed by now.
		if target, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil {
			f.files = append(f.files, target)
		}
	}
	slices.Sort(f.files)
	raw, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(t, err)
	for line := range strings.Lines(string(raw)) {
		if strings.Contains(line, root) {
			f.mounts = append(f.mounts, line)
		}
	}
	return f
}

// requireNoLeak waits until no more is held than before.
func requireNoLeak(t *testing.T, root string, before footprint) {
	t.Helper()
	deadline := time.Now().Add(fstest.Patience)
	for {
		now := footprintOf(t, root)
		leaks := ""
		if now.goroutines > before.goroutines {
			var stacks strings.Builder
			require.NoError(t, pprof.Lookup("goroutine").WriteTo(&stacks, 1))
			leaks += fmt.Sprintf("%d goroutines, before %d:\n%s\n", now.goroutines, before.goroutines, &stacks)
		}
		if len(now.files) > len(before.files) {
			leaks += fmt.Sprintf("descriptors:\n%s\nbefore:\n%s\n", strings.Join(now.files, "\n"), strings.Join(before.files, "\n"))
		}
		if !slices.Equal(now.mounts, before.mounts) {
			leaks += fmt.Sprintf("mounts:\n%s\nbefore:\n%s\n", now.mounts, before.mounts)
		}
		if leaks == "" {
			return
		}
		if time.Now().After(deadline) {
			require.Fail(t, "leaks", leaks)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// requireSound fails unless the directories on disk are those of the snapshots,
// with nothing being made or removed.
func (s *served) requireSound() {
	s.t.Helper()
	rows := map[string]bool{}
	require.NoError(s.t, s.store.Walk(s.t.Context(), func(_ context.Context, info snapshots.Info) error {
		rows[info.Name] = true
		return nil
	}))
	dir := filepath.Join(s.root, s.store.Driver().Name())
	if s.store.Driver().Name() == "aufs" {
		dir = filepath.Join(dir, "layers")
	}
	var names []string
	eventually(s.t, func() bool {
		names = nil
		entries, err := os.ReadDir(dir)
		require.NoError(s.t, err)
		for _, e := range entries {
			if !slices.Contains([]string{".empty", ".probe"}, e.Name()) {
				names = append(names, e.Name())
			}
		}
		return len(names) == len(rows)
	}, fmt.Sprintf("as many directories as snapshots: %v", slices.Sorted(maps.Keys(rows))))
	for _, name := range names {
		require.False(s.t, strings.HasPrefix(name, "."), "left behind: %s", name)
	}
}

// connects waits until somebody listens at path.
func connects(t *testing.T, path string) {
	t.Helper()
	eventually(t, func() bool {
		c, err := net.Dial("unix", path)
		if err == nil {
			_ = c.Close() // it was only asked
		}
		return err == nil
	}, path+" is listened on")
}
