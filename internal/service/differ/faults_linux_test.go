package differ

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/tar"
)

// A gate stands between the differ and containerd's content service: it lets
// some messages of a stream through and then does what a test wants.
type gate struct {
	contentapi.ContentServer
	reads, writes int                         // let through
	then          func(context.Context) error // what comes instead of the next one
}

func (g *gate) Read(req *contentapi.ReadContentRequest, s contentapi.Content_ReadServer) error {
	return g.ContentServer.Read(req, &gatedRead{s, g, g.reads})
}

func (g *gate) Write(s contentapi.Content_WriteServer) error {
	return g.ContentServer.Write(&gatedWrite{s, g, g.writes})
}

type gatedRead struct {
	contentapi.Content_ReadServer
	g    *gate
	left int
}

func (s *gatedRead) Send(m *contentapi.ReadContentResponse) error {
	if s.left == 0 {
		return s.g.then(s.Context())
	}
	s.left--
	return s.Content_ReadServer.Send(m)
}

type gatedWrite struct {
	contentapi.Content_WriteServer
	g    *gate
	left int
}

func (s *gatedWrite) Recv() (*contentapi.WriteContentRequest, error) {
	if s.left == 0 {
		return nil, s.g.then(s.Context())
	}
	s.left--
	return s.Content_WriteServer.Recv()
}

// incompressible is a layer of some MiB.
func incompressible(t testing.TB, mib int) []byte {
	t.Helper()
	source := rand.New(rand.NewPCG(1, uint64(mib)))
	body := make([]byte, mib<<20)
	for i := 0; i+8 <= len(body); i += 8 {
		v := source.Uint64()
		for j := range 8 {
			body[i+j] = byte(v >> (8 * j))
		}
	}
	return fstest.Layer(t, fstest.Dir("./"), fstest.File("big", string(body)))
}

// gated makes a rig whose engine answers through the gate.
func gated(t *testing.T, g *gate) *rig {
	t.Helper()
	r := newRig(t, "vfs")
	r.engine.stop()
	r.engine.wrap = func(s contentapi.ContentServer) contentapi.ContentServer {
		g.ContentServer = s
		return g
	}
	r.engine.start()
	return r
}

func TestAnEngineThatFailsInTheMiddleLeavesNothing(t *testing.T) {
	full := status.Error(codes.ResourceExhausted, "no space left on device")
	t.Run("apply", func(t *testing.T) {
		r := gated(t, &gate{reads: 2, writes: -1, then: func(context.Context) error { return full }})
		desc := r.engine.put(ocispec.MediaTypeImageLayer, incompressible(t, 4))
		_, err := r.Apply(r.ctx(), desc, r.prepare("key", ""))
		require.ErrorIs(t, err, errdefs.ErrResourceExhausted)
		require.ErrorContains(t, err, "no space left on device")
		require.Empty(t, names(r.tree("key")))
	})
	t.Run("compare", func(t *testing.T) {
		r := gated(t, &gate{reads: -1, writes: 4, then: func(context.Context) error { return full }})
		mounts := r.prepare("key", "")
		_, err := r.Apply(r.ctx(), r.engine.put(ocispec.MediaTypeImageLayer, incompressible(t, 16)), mounts)
		require.NoError(t, err)
		before := r.engine.blobs()
		_, err = r.Compare(r.ctx(), nil, mounts, diff.WithReference("mine"))
		require.ErrorIs(t, err, errdefs.ErrResourceExhausted)
		require.Equal(t, before, r.engine.blobs())
		r.engine.requireNoUploads()
	})
}

// A caller that hangs up while the engine is busy: the call ends, and all that
// it started does. An engine that hangs, too, and never ends an upload by
// itself, is not waited for without end.
func TestACallerThatHangsUpLeavesNothing(t *testing.T) {
	cancelNow := func(cancel context.CancelFunc) func(context.Context) error {
		return func(ctx context.Context) error {
			cancel()
			<-ctx.Done()
			return ctx.Err()
		}
	}
	t.Run("apply", func(t *testing.T) {
		ctx, cancel := context.WithCancel(inNamespace(t.Context()))
		r := gated(t, &gate{reads: 2, writes: -1, then: cancelNow(cancel)})
		desc := r.engine.put(ocispec.MediaTypeImageLayer, incompressible(t, 4))
		mounts := r.prepare("key", "")
		small := r.engine.put(ocispec.MediaTypeImageLayer, fstest.Layer(t, baseEntries...))
		_, err := r.Apply(r.ctx(), small, r.prepare("connects", ""))
		require.NoError(t, err)
		requireNoLeaks(t, func() {
			_, err := r.Apply(ctx, desc, mounts)
			require.ErrorIs(t, err, context.Canceled)
		})
		require.Empty(t, names(r.tree("key")))
		require.NoError(t, r.scope.Remove(r.ctx(), "key"), "it is not in use any more")
	})
	t.Run("compare", func(t *testing.T) {
		ctx, cancel := context.WithCancel(inNamespace(t.Context()))
		r := gated(t, &gate{reads: -1, writes: 4, then: cancelNow(cancel)})
		r.Differ.engine.farewell = 10 * time.Millisecond
		mounts := r.prepare("key", "")
		_, err := r.Apply(r.ctx(), r.engine.put(ocispec.MediaTypeImageLayer, incompressible(t, 16)), mounts)
		require.NoError(t, err)
		before := r.engine.blobs()
		requireNoLeaks(t, func() {
			_, err := r.Compare(ctx, nil, mounts)
			require.ErrorIs(t, err, context.Canceled)
		})
		require.Equal(t, before, r.engine.blobs())
		r.engine.requireNoUploads()
		require.NoError(t, r.scope.Remove(r.ctx(), "key"), "it is not in use any more")
	})
}

// requireNoLeaks fails when what f has started, or opened, stays.
func requireNoLeaks(t *testing.T, f func()) {
	t.Helper()
	goroutines, files := runtime.NumGoroutine(), fstest.OpenDescriptors(t)
	f()
	for end := time.Now().Add(fstest.Patience); runtime.NumGoroutine() > goroutines || fstest.OpenDescriptors(t) > files; {
		if time.Now().After(end) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("goroutines or descriptors stay:\n%s", stacks[:runtime.Stack(stacks, true)])
		}
		runtime.Gosched()
	}
}

func TestManyCallsAtATimeDoNotDisturbEachOther(t *testing.T) {
	onBackends(t, func(t *testing.T, r *rig) {
		r.committed("base", "", baseEntries...)
		r.committed("want", "base", upperEntries...)
		desc := r.engine.put(ocispec.MediaTypeImageLayerZstd, pack(t, fstest.Layer(t, upperEntries...), tar.Zstd))
		base, want := r.view("base view", "base"), r.tree("want")
		layer := r.native("want")
		// The first call makes the connection, which stays.
		_, err := r.Compare(r.ctx(), base, r.view("want view", "want"))
		require.NoError(t, err)
		requireNoLeaks(t, func() {
			var all sync.WaitGroup
			errs := make([]error, 24)
			for i := range errs {
				all.Go(func() { errs[i] = r.round(desc, fmt.Sprintf("default/%d/extract-%d x", i, i)) })
			}
			all.Wait()
			require.NoError(t, errors.Join(errs...))
		})
		for i := range 24 {
			fstest.RequireEqual(t, want, r.tree(fmt.Sprintf("default/%d/extract-%d x", i, i)), "a layer applied beside others")
		}
		require.Len(t, r.engine.blobs(), 2, "all diffs are one")
		require.Equal(t, layer, r.layer(ocispec.Descriptor{Digest: digest.FromBytes(pack(t, layer, tar.Gzip)), Size: int64(len(pack(t, layer, tar.Gzip)))}))
		r.engine.requireNoUploads()
	})
}

// round applies a layer and compares the outcome, from any goroutine.
func (r *rig) round(desc ocispec.Descriptor, key string) error {
	mounts, err := r.scope.Prepare(r.ctx(), key, "base")
	if err != nil {
		return err
	}
	if _, err := r.Apply(r.ctx(), desc, mounts); err != nil {
		return err
	}
	lower, err := r.scope.View(r.ctx(), key+" lower", "base")
	if err != nil {
		return err
	}
	if _, err = r.Compare(r.ctx(), lower, mounts); err != nil {
		return err
	}
	return r.scope.Remove(r.ctx(), key+" lower")
}

func TestAnEngineMayRestart(t *testing.T) {
	r := newRig(t, "vfs")
	desc := r.engine.put(ocispec.MediaTypeImageLayer, fstest.Layer(t, baseEntries...))
	apply := func(key string) error {
		_, err := r.Apply(r.ctx(), desc, r.prepare(key, ""))
		return err
	}
	require.NoError(t, apply("before"))
	r.stopEngine()
	down := make(chan error, 1)
	mounts := r.prepare("meanwhile", "")
	go func() {
		_, err := r.Apply(r.ctx(), desc, mounts)
		down <- err
	}()
	r.engine.start()
	require.NoError(t, <-down, "a call waits for the engine")
	require.NoError(t, apply("after"))
}

func TestAnEngineThatIsNotThereIsNamed(t *testing.T) {
	r := newRig(t, "vfs")
	desc := r.engine.put(ocispec.MediaTypeImageLayer, fstest.Layer(t, baseEntries...))
	r.stopEngine()
	ctx, cancel := context.WithTimeout(r.ctx(), 50*time.Millisecond)
	defer cancel()
	mounts := r.prepare("key", "")
	_, err := r.Apply(ctx, desc, mounts)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	if testing.Short() {
		return
	}
	_, err = r.Apply(r.ctx(), desc, mounts)
	require.ErrorIs(t, err, errdefs.ErrUnavailable)
	require.ErrorContains(t, err, r.engine.socket)
}

func TestCallsEndWhenTheConnectionIsClosed(t *testing.T) {
	blocked := make(chan struct{})
	r := gated(t, &gate{reads: 2, writes: -1, then: func(ctx context.Context) error {
		close(blocked)
		<-ctx.Done()
		return ctx.Err()
	}})
	desc := r.engine.put(ocispec.MediaTypeImageLayer, incompressible(t, 4))
	mounts := r.prepare("key", "")
	end := make(chan error, 1)
	go func() {
		_, err := r.Apply(r.ctx(), desc, mounts)
		end <- err
	}()
	<-blocked
	require.NoError(t, r.Differ.engine.Close())
	require.Error(t, <-end)
	_, err := r.Apply(r.ctx(), desc, mounts)
	require.ErrorIs(t, err, errdefs.ErrUnavailable)
}

func TestTheSocketIsAnAbsolutePath(t *testing.T) {
	for _, address := range []string{"", "run/containerd.sock", "unix:///run/containerd.sock"} {
		_, err := NewEngine(address)
		require.ErrorIs(t, err, errdefs.ErrInvalidArgument, address)
	}
}

// A blob is received ahead of what is read, but not all of it.
func TestReadingAheadIsBounded(t *testing.T) {
	r := newRig(t, "vfs")
	raw := incompressible(t, 64)
	desc := r.engine.put(ocispec.MediaTypeImageLayer, raw)
	b, err := r.Differ.engine.open(r.ctx(), desc)
	require.NoError(t, err)
	defer b.Close()
	head := make([]byte, 10)
	_, err = io.ReadFull(b, head)
	require.NoError(t, err)
	require.Equal(t, raw[:10], head)
	require.Eventually(t, func() bool {
		if b.room.TryAcquire(2 << 20) {
			b.room.Release(2 << 20)
			return false
		}
		return true
	}, fstest.Patience, time.Millisecond, "what is read ahead")
	var rest bytes.Buffer
	_, err = rest.ReadFrom(b)
	require.NoError(t, err)
	require.Equal(t, digest.FromBytes(raw[10:]), digest.FromBytes(rest.Bytes()))
}

func TestAFullDiskLeavesTheSnapshotAsItWas(t *testing.T) {
	r := newRigAt(t, "vfs", fstest.ScratchSize(t, fstest.Tmpfs, 16))
	r.committed("base", "", baseEntries...)
	mounts := r.prepare("key", "base")
	_, err := r.Apply(r.ctx(), r.engine.put(ocispec.MediaTypeImageLayer, incompressible(t, 32)), mounts)
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.ErrorIs(t, err, errdefs.ErrResourceExhausted)
	fstest.RequireEqual(t, r.tree("base"), r.tree("key"), "the snapshot after a failure")
	_, err = r.Apply(r.ctx(), r.engine.put(ocispec.MediaTypeImageLayer, fstest.Layer(t, upperEntries...)), mounts)
	require.NoError(t, err)
}
