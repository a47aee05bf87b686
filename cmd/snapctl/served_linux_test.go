package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/proxy"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/snapshotter"
)

// tellStory runs every command once, as text and as JSON, and returns all that
// it printed, without what differs from one store to another.
func tellStory(t *testing.T, serve bool) string {
	t.Helper()
	dir := t.TempDir()
	t.Cleanup(func() { unmountBelow(dir) })
	archive, err := demoImage(runtime.GOARCH)
	require.NoError(t, err)
	layer, err := demoLayers()[1].tar()
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "demo.tar"), archive, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "layer.tar"), layer, 0o600))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "m"), 0o700))
	if serve {
		serveStore(t, dir)
	}
	var all strings.Builder
	for _, format := range [][]string{nil, {"--json"}} {
		for _, args := range append(story(dir),
			[]string{"info", "nobody"}, []string{"import", filepath.Join(dir, "layer.tar")}, []string{"apply", "nobody", filepath.Join(dir, "demo.tar")},
			[]string{"import", filepath.Join(dir, "missing")}, []string{"mount", "nobody", filepath.Join(dir, "m")}, []string{"rmi", "nobody"},
			[]string{"commit", "a", "nobody"}, []string{"prepare", "a", "nobody"}, []string{"export", "nobody", filepath.Join(dir, "x")}) {
			switch args[0] {
			case "bench", "demo", "version": // they use no store
				continue
			case "repair": // it needs it alone
				continue
			}
			code, out, errs := runStory(t.Context(), dir, strings.NewReader(""), append(append([]string{}, format...), args...)...)
			all.WriteString(strings.Join(args, " ") + "\n" + out + errs + strings.Repeat("!", code) + "\n")
		}
	}
	text := strings.ReplaceAll(all.String(), dir, "DIR")
	for _, varies := range []string{
		`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`, `snapctl-mount-[0-9a-f]+`, `process \d+`,
		`store/[a-z0-9]+/\d+`,                      // layers that unpack side by side are numbered as they come
		`(layer|changed)\S* .*sha256:[0-9a-f]{64}`, // holds times
	} {
		text = regexp.MustCompile(varies).ReplaceAllString(text, "VARIES")
	}
	return text
}

func TestBothWaysToAStorePrintTheSame(t *testing.T) {
	if !canMount() {
		t.Skip("needs root or a user namespace")
	}
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	here := tellStory(t, false)
	require.Contains(t, here, "!!!", "the story holds failures too")
	require.Equal(t, here, tellStory(t, true))
}

func TestACommandWhoseServiceIsLostSaysSo(t *testing.T) {
	dir := demoStore(t)
	s := serveStore(t, dir)
	archive, err := os.ReadFile(filepath.Join(dir, "demo.tar"))
	require.NoError(t, err)
	in := &stuck{bytes.NewReader(archive[:len(archive)/2]), func() { require.NoError(t, s.kill()) }}
	code, out, errs := runStory(t.Context(), dir, in, "import", "--name", "other", "-")
	require.Equal(t, exitFailed, code, errs)
	require.Empty(t, out)
	require.Contains(t, errs, "was lost")
	require.Equal(t, 1, strings.Count(errs, "\n"), errs)
	require.NotContains(t, mustRun(t, dir, "images"), "other")
	require.Contains(t, mustRun(t, dir, "gc"), "removed 0 snapshots")
}

func TestWhatAKilledClientHasBegunIsUndone(t *testing.T) {
	dir := demoStore(t)
	s := serveStore(t, dir)
	before := mustRun(t, dir, "ls")
	// A process of its own, so that nothing of it is left to tell the service.
	begun := make(chan struct{})
	archive, err := os.ReadFile(filepath.Join(dir, "demo.tar"))
	require.NoError(t, err)
	mustRun(t, dir, "prepare", "work")
	cmd := snapctlProcess("--address", s.address, "apply", "work", "-")
	cmd.Stdin = &stuck{bytes.NewReader(archive[:2000]), func() { close(begun) }}
	require.NoError(t, cmd.Start())
	<-begun
	require.NoError(t, cmd.Process.Kill())
	_, err = cmd.Process.Wait()
	require.NoError(t, err)
	mustRun(t, dir, "rm", "work") // waits until the call has let go of it
	require.Equal(t, before, mustRun(t, dir, "ls"))
}

// engineOf is what an engine sees of the store of a service.
func engineOf(t *testing.T, address string) (context.Context, snapshots.Snapshotter) {
	t.Helper()
	conn, err := grpc.NewClient("unix:"+address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	ctx := namespaces.WithNamespace(t.Context(), "test")
	return ctx, proxy.NewSnapshotter(snapshotsapi.NewSnapshotsClient(conn), "layerkeep")
}

func TestWhatBelongsToAnEngineIsShownAndLeftAlone(t *testing.T) {
	dir := demoStore(t)
	s := serveStore(t, dir)
	ctx, engine := engineOf(t, s.address)
	_, err := engine.Prepare(ctx, "base-key", "")
	require.NoError(t, err)
	require.NoError(t, engine.Commit(ctx, "base", "base-key"))
	_, err = engine.Prepare(ctx, "box", "base")
	require.NoError(t, err)

	out := mustRun(t, dir, "ls", "--scope", "containerd")
	require.Equal(t, 3, strings.Count(out, "\n"), out)
	require.Contains(t, out, "@containerd/box")
	require.NotContains(t, mustRun(t, dir, "tree", "--scope", "-"), "@")
	require.Contains(t, mustRun(t, dir, "--json", "ls"), `"scope": "containerd"`)
	require.Contains(t, mustRun(t, dir, "gc"), "removed 0 snapshots")

	target := filepath.Join(dir, "m")
	for _, args := range [][]string{
		{"rm", "@containerd/box"},
		{"commit", "mine", "@containerd/box"},
		{"rename", "@containerd/box", "mine"},
		{"apply", "@containerd/box", filepath.Join(dir, "demo.tar")},
		{"mount", "@containerd/box", target},
	} {
		code, _, errs := runStory(t.Context(), dir, strings.NewReader(""), args...)
		require.Equal(t, exitState, code, "%v: %s", args, errs)
		require.Contains(t, errs, "in the engine", args)
	}
	_, err = engine.Stat(ctx, "box")
	require.NoError(t, err)
	mustRun(t, dir, "mount", "@containerd/base", target)
	mustRun(t, dir, "umount", target)
	mustRun(t, dir, "rm", "--force", "@containerd/base", "@containerd/box")
	_, err = engine.Stat(ctx, "box")
	require.Error(t, err)
}

// A mount that is being made looks as if it were gone: nobody may forget it.
func TestCommandsSideBySideDoNotTakeEachOthersMounts(t *testing.T) {
	dir := demoStore(t)
	serveStore(t, dir)
	const n = 6
	targets := make(chan string, n)
	failed := make(chan string, 4*n)
	for i := range n {
		target := filepath.Join(dir, "m"+string(rune('a'+i)))
		require.NoError(t, os.Mkdir(target, 0o700))
		go func() {
			for _, args := range [][]string{{"mount", demoRef, target}, {"gc"}} {
				if code, _, errs := runStory(t.Context(), dir, strings.NewReader(""), args...); code != exitDone {
					failed <- errs
				}
			}
			targets <- target
		}()
	}
	for range n {
		<-targets
	}
	require.Empty(t, failed)
	require.Equal(t, n, strings.Count(mustRun(t, dir, "ls"), "view"))
	for i := range n {
		mustRun(t, dir, "umount", filepath.Join(dir, "m"+string(rune('a'+i))))
	}
	require.NotContains(t, mustRun(t, dir, "ls"), "view")
}

func TestASnapshotThatIsBeingAppliedToIsNotMounted(t *testing.T) {
	dir := demoStore(t)
	s := serveStore(t, dir)
	mustRun(t, dir, "prepare", "work")
	out, in := io.Pipe()
	applied := make(chan int, 1)
	go func() {
		code, _, _ := runStory(t.Context(), dir, out, "--address", s.address, "apply", "work", "-")
		applied <- code
	}()
	_, err := in.Write(make([]byte, 512)) // it holds the snapshot when it reads
	require.NoError(t, err)
	a := &app{streams: streams{Err: io.Discard}, global: globalOptions{root: filepath.Join(dir, "store")}}
	require.NoError(t, a.setUpForTest())
	require.NoError(t, a.withStore(t.Context(), func(st *store) error {
		require.Eventually(t, func() bool {
			// One that nobody holds is given at once.
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			h, err := st.reserve(ctx, reservedSnapshot("work"))
			if err == nil {
				h.Release()
			}
			return err != nil
		}, fstest.Patience, time.Millisecond)
		return nil
	}))
	require.NoError(t, in.Close())
	require.Equal(t, exitDone, <-applied)
	mustRun(t, dir, "mount", "work", filepath.Join(dir, "m"))
	mustRun(t, dir, "umount", filepath.Join(dir, "m"))
}

func TestTheHolderOfAStoreIsFoundWithItsAddress(t *testing.T) {
	dir := demoStore(t)
	s := serveStore(t, dir)
	h, ok := snapshotter.HolderOf(filepath.Join(dir, "store"))
	require.True(t, ok)
	require.Equal(t, snapshotter.Holder{PID: s.cmd.Process.Pid, Address: s.address}, h)
}

func TestTheLockOfAStoreDoesNotLeadToTheServiceOfAnother(t *testing.T) {
	s := serveStore(t, demoStore(t))
	root := filepath.Join(t.TempDir(), "store")
	held, err := snapshotter.Open(t.Context(), root, snapshotter.Options{Driver: "vfs", Address: s.address})
	require.NoError(t, err)
	defer func() { require.NoError(t, held.Close()) }()
	a := &app{streams: streams{Err: io.Discard}, global: globalOptions{root: root}}
	require.NoError(t, a.setUpForTest())
	err = a.withStore(t.Context(), func(*store) error { return nil })
	require.ErrorIs(t, err, errState)
	require.ErrorContains(t, err, "has the store")
}
