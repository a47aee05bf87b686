package service

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/proxy"
	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/layerkeep/layerkeep/client"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/driver/all"
	"github.com/layerkeep/layerkeep/driver/all/alltest"
	"github.com/layerkeep/layerkeep/image"
	"github.com/layerkeep/layerkeep/internal/fstest"
)

// onEveryDriver runs the test with a store of every driver that works here; the
// root is removed with the test.
func onEveryDriver(t *testing.T, test func(t *testing.T, name, root string)) {
	t.Helper()
	for _, name := range all.Names() {
		t.Run(name, func(t *testing.T) {
			alltest.SkipInShort(t, name)
			root := fstest.Place(t, t.TempDir(), func(dir string) error {
				d, _, err := all.Select(t.Context(), filepath.Join(dir, "probe"), name, driver.Options{})
				if err != nil {
					return err
				}
				return d.Close()
			})
			test(t, name, filepath.Join(root, "root"))
		})
	}
}

func TestManyEnginesPreparingAndRemovingAtOnceLeakNothing(t *testing.T) {
	onEveryDriver(t, func(t *testing.T, name, root string) {
		before := footprintOf(t, root)
		s := start(t, root, name, nil)
		prepare, commit, remove := s.calls(t)
		require.NoError(t, prepare("base-key", ""))
		require.NoError(t, commit("base", "base-key"))
		many := 200
		if testing.Short() {
			many = 40
		}
		var working sync.WaitGroup
		errs := make(chan error, 3*many)
		for i := range many {
			working.Go(func() {
				key := fmt.Sprintf("key-%d", i)
				errs <- prepare(key, "base")
				if i%2 == 0 { // what is left of the others is counted below
					errs <- remove(key)
				}
				if err := prepare("contended", "base"); !errdefs.IsAlreadyExists(err) && !errdefs.IsUnavailable(err) {
					errs <- err
				}
			})
		}
		working.Wait()
		close(errs)
		for err := range errs {
			require.NoError(t, err)
		}
		s.requireSound()
		for i := range many {
			if i%2 == 1 {
				working.Go(func() { assert.NoError(t, remove(fmt.Sprintf("key-%d", i))) })
			}
		}
		working.Wait()
		require.NoError(t, remove("contended"))
		require.NoError(t, s.engine.(snapshots.Cleaner).Cleanup(asEngine(t)))
		s.requireSound()
		require.NoError(t, s.stop())
		requireNoLeak(t, root, before)
	})
}

// calls are those of an engine; where the driver cannot mount what can be
// written to, which an engine needs, they are those of a tool, which does not.
func (s *served) calls(t *testing.T) (prepare, commit func(key, parent string) error, remove func(string) error) {
	t.Helper()
	ctx := asEngine(t)
	_, err := s.engine.Prepare(ctx, "probe", "")
	if errdefs.IsNotImplemented(err) {
		tool := s.tool()
		return func(key, parent string) error { return tool.Create(ctx, key, parent, nil) },
			func(name, key string) error { return tool.Commit(ctx, name, key, nil) },
			func(key string) error { return tool.Remove(ctx, key, false) }
	}
	require.NoError(t, err)
	require.NoError(t, s.engine.Remove(ctx, "probe"))
	return func(key, parent string) error { _, err := s.engine.Prepare(ctx, key, parent); return err },
		func(name, key string) error { return s.engine.Commit(ctx, name, key) },
		func(key string) error { return s.engine.Remove(ctx, key) }
}

// hangUps are streams that a client leaves in the middle.
func hangUps(t *testing.T, s *served, tool *client.Client) map[string]func(ctx context.Context, hangUp func()) error {
	t.Helper()
	leaveAfter := func(n int, hangUp func()) io.Writer {
		return writerFunc(func(p []byte) (int, error) {
			if n -= len(p); n <= 0 {
				hangUp()
			}
			return len(p), nil
		})
	}
	return map[string]func(ctx context.Context, hangUp func()) error{
		"list": func(ctx context.Context, hangUp func()) error {
			// With windows that do not grow: the list has to be larger than they are.
			const window = 64 << 10
			conn := dial(t, s.config.Address, grpc.WithInitialWindowSize(window), grpc.WithInitialConnWindowSize(window))
			defer conn.Close()
			list, err := snapshotsapi.NewSnapshotsClient(conn).List(ctx, &snapshotsapi.ListSnapshotsRequest{})
			if err != nil {
				return err
			}
			_, err = list.Recv()
			hangUp()
			for err == nil {
				_, err = list.Recv()
			}
			return err
		},
		"apply": func(ctx context.Context, hangUp func()) error {
			_, err := tool.Apply(ctx, "half", leaving(bigLayer(t), hangUp), driver.ApplyOptions{})
			return err
		},
		"diff": func(ctx context.Context, hangUp func()) error {
			_, err := tool.Diff(ctx, "full", leaveAfter(1<<20, hangUp), driver.DiffOptions{})
			return err
		},
		"changes": func(ctx context.Context, hangUp func()) error {
			for _, err := range tool.Changes(ctx, "full") {
				require.NoError(t, err)
				break // which is how one hangs up here
			}
			hangUp()
			return ctx.Err()
		},
		"import": func(ctx context.Context, hangUp func()) error {
			_, err := tool.Import(ctx, image.Source{Path: "-", Reader: leaving(bigLayer(t), hangUp)}, image.ImportOptions{})
			return err
		},
	}
}

type writerFunc func([]byte) (int, error)

func (w writerFunc) Write(p []byte) (int, error) { return w(p) }

// bigLayer is more than what a connection keeps under way.
func bigLayer(t *testing.T) []byte {
	t.Helper()
	var entries []fstest.Entry
	for i := range 64 {
		entries = append(entries, fstest.File(fmt.Sprintf("file-%d", i), strings.Repeat("layer", 64<<10)))
	}
	return fstest.Layer(t, entries...)
}

// leaving is a stream whose reader hangs up in the middle.
func leaving(content []byte, hangUp func()) io.Reader {
	half := len(content) / 2
	return io.MultiReader(bytes.NewReader(content[:half]), readerFunc(func([]byte) (int, error) {
		hangUp()
		return 0, io.EOF
	}), bytes.NewReader(content[half:]))
}

type readerFunc func([]byte) (int, error)

func (r readerFunc) Read(p []byte) (int, error) { return r(p) }

func TestAClientThatHangsUpInTheMiddleLeavesNothing(t *testing.T) {
	root := t.TempDir()
	before := footprintOf(t, root)
	s := start(t, root, "vfs", nil)
	tool := s.tool()
	require.NoError(t, tool.Create(t.Context(), "half", "", nil))
	require.NoError(t, tool.Create(t.Context(), "full", "", nil))
	_, err := tool.Apply(t.Context(), "full", bytes.NewReader(bigLayer(t)), driver.ApplyOptions{})
	require.NoError(t, err)
	for i := range 300 {
		_, err := s.engine.Prepare(asEngine(t), fmt.Sprintf("%s-%d", strings.Repeat("long", 200), i), "")
		require.NoError(t, err)
	}
	calm := footprintOf(t, root)
	for name, call := range hangUps(t, s, tool) {
		ctx, cancel := context.WithCancel(asEngine(t))
		err := call(ctx, cancel)
		require.Error(t, err, name)
		require.True(t, status.Code(err) == codes.Canceled || errors.Is(err, context.Canceled), "%s: %v", name, err)
		cancel()
	}
	requireNoLeak(t, root, calm)
	changes := 0
	for _, err := range tool.Changes(t.Context(), "half") {
		require.NoError(t, err)
		changes++
	}
	require.Zero(t, changes, "a layer is applied whole or not at all")
	require.NoError(t, tool.Remove(t.Context(), "half", false))
	s.requireSound()
	require.NoError(t, tool.Close())
	require.NoError(t, s.stop())
	eventually(t, func() bool { return len(footprintOf(t, root).files) <= len(before.files)+1 }, "connections end")
}

func TestAFullDiskIsToldAndEndsWithIt(t *testing.T) {
	scratch := fstest.ScratchSize(t, fstest.Ext4, 32)
	root := filepath.Join(scratch, "root")
	s := start(t, root, "overlay2", nil)
	tool := s.tool()
	require.NoError(t, tool.Create(t.Context(), "big", "", nil))
	large := fstest.Layer(t, fstest.File("a", strings.Repeat("x", 64<<20)))
	calm := footprintOf(t, root)
	_, err := tool.Apply(t.Context(), "big", bytes.NewReader(large), driver.ApplyOptions{})
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.Equal(t, codes.ResourceExhausted, status.Code(err))
	s.requireSound()

	ballast := filepath.Join(scratch, "ballast")
	fill(t, ballast)
	failed := 0
	for i := range 50 {
		_, err := s.engine.Prepare(asEngine(t), fmt.Sprintf("key-%d", i), "")
		if err != nil {
			failed++
			require.ErrorIs(t, err, errdefs.ErrResourceExhausted)
		}
	}
	require.NotZero(t, failed, "the disk was not full")
	requireNoLeak(t, root, calm)
	require.NoError(t, os.Remove(ballast))
	_, err = s.engine.Prepare(asEngine(t), "after", "")
	require.NoError(t, err)
	_, err = tool.Apply(t.Context(), "big", bytes.NewReader(fstest.Layer(t, fstest.File("a", "fits"))), driver.ApplyOptions{})
	require.NoError(t, err)
	require.NoError(t, s.engine.(snapshots.Cleaner).Cleanup(asEngine(t)))
	s.requireSound()
}

// fill writes files until the disk is full, to its last block and inode.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	require.NoError(t, err)
	defer f.Close()
	for _, size := range []int{1 << 20, 4096, 1} {
		for err == nil {
			_, err = f.Write(make([]byte, size))
		}
		require.ErrorIs(t, err, syscall.ENOSPC)
		err = nil
	}
	require.True(t, errors.Is(f.Sync(), syscall.ENOSPC) || err == nil)
}

func TestAStoreThatIsUnmountedUnderTheServiceSaysSoAndComesBack(t *testing.T) {
	for _, name := range []string{"overlay2", "vfs"} {
		t.Run(name, func(t *testing.T) {
			alltest.SkipInShort(t, name)
			scratch := fstest.Scratch(t, fstest.Tmpfs)
			root := filepath.Join(t.TempDir(), "root")
			require.NoError(t, os.Mkdir(root, 0o700))
			require.NoError(t, unix.Mount(scratch, root, "", unix.MS_BIND, ""))
			unmounted := false
			t.Cleanup(func() {
				if !unmounted {
					_ = unix.Unmount(root, unix.MNT_DETACH) // after a failure
				}
			})
			before := footprintOf(t, "nothing")
			s := start(t, root, name, nil)
			_, err := s.engine.Prepare(asEngine(t), "key", "")
			require.NoError(t, err)
			tool := s.tool()
			require.NoError(t, unix.Unmount(root, unix.MNT_DETACH))
			unmounted = true
			for what, err := range everyCall(t, s.engine) {
				require.ErrorIs(t, err, errdefs.ErrUnavailable, what)
				require.ErrorContains(t, err, "was its file system unmounted", what)
			}
			_, err = tool.Apply(t.Context(), "key", bytes.NewReader(bigLayer(t)), driver.ApplyOptions{})
			require.ErrorIs(t, err, errdefs.ErrUnavailable)
			entries, err := os.ReadDir(root)
			require.NoError(t, err)
			require.Empty(t, entries, "nothing is written to what lies below")

			require.NoError(t, unix.Mount(scratch, root, "", unix.MS_BIND, ""))
			unmounted = false
			_, err = s.engine.Stat(asEngine(t), "key")
			require.NoError(t, err)
			require.NoError(t, s.engine.Remove(asEngine(t), "key"))
			s.requireSound()
			require.NoError(t, tool.Close())
			require.NoError(t, s.stop())
			require.NoError(t, unix.Unmount(root, 0))
			unmounted = true
			requireNoLeak(t, "nothing", before)
		})
	}
}

// everyCall makes every call of an engine on a snapshot "key".
func everyCall(t *testing.T, e snapshots.Snapshotter) map[string]error {
	t.Helper()
	ctx := asEngine(t)
	errs := map[string]error{}
	_, errs["prepare"] = e.Prepare(ctx, "new", "")
	_, errs["view"] = e.View(ctx, "new", "")
	_, errs["mounts"] = e.Mounts(ctx, "key")
	_, errs["stat"] = e.Stat(ctx, "key")
	_, errs["usage"] = e.Usage(ctx, "key")
	_, errs["update"] = e.Update(ctx, snapshots.Info{Name: "key"}, "labels.x")
	errs["commit"] = e.Commit(ctx, "committed", "key")
	errs["walk"] = e.Walk(ctx, func(context.Context, snapshots.Info) error { return nil })
	errs["remove"] = e.Remove(ctx, "key")
	errs["cleanup"] = e.(snapshots.Cleaner).Cleanup(ctx) //nolint:forcetypeassert // the proxy is one
	return errs
}

func TestAnEngineFindsItsWayBackWhenTheSocketWasRemoved(t *testing.T) {
	s := start(t, t.TempDir(), "vfs", nil)
	_, err := s.engine.Prepare(asEngine(t), "key", "")
	require.NoError(t, err)
	require.NoError(t, os.Remove(s.config.Address))
	_, err = s.engine.Stat(asEngine(t), "key")
	require.NoError(t, err, "a connection that exists goes on")
	connects(t, s.config.Address)
	again := proxy.NewSnapshotter(snapshotsapi.NewSnapshotsClient(dial(t, s.config.Address)), "layerkeep")
	_, err = again.Stat(asEngine(t), "key")
	require.NoError(t, err)
}
