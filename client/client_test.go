package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/layerkeep/layerkeep"
	storev1 "github.com/layerkeep/layerkeep/api/store/v1"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/image"
	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/internal/service/grpcerr"
	"github.com/layerkeep/layerkeep/internal/service/storeservice"
	"github.com/layerkeep/layerkeep/snapshotter"
)

// served is a store with its service and a client of it.
type served struct {
	*Client
	snaps  *snapshotter.Snapshotter
	images *image.Store
	server *grpc.Server
	gcs    []storeservice.Collection
	// address is the service's socket.
	address string
}

// serve opens a store, serves it on a socket, and connects to that. At the end
// it wants no goroutine to be left of all this.
func serve(t *testing.T) *served {
	t.Helper()
	before := runtime.NumGoroutine()
	t.Cleanup(func() {
		for deadline := time.Now().Add(fstest.Patience); runtime.NumGoroutine() > before; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				all := make([]byte, 1<<20)
				t.Fatalf("goroutines are left:\n%s", all[:runtime.Stack(all, true)])
			}
		}
	})
	s := &served{}
	var err error
	s.snaps, err = snapshotter.Open(t.Context(), filepath.Join(t.TempDir(), "store"), snapshotter.Options{Driver: "vfs"})
	if errors.Is(err, driver.ErrUnsupported) {
		t.Skipf("no backend works here: %v", err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.snaps.Close()) })
	local, err := layerkeep.Over(s.snaps)
	require.NoError(t, err)
	s.images = local.ImageStore()

	s.address = filepath.Join(fstest.ShortDir(t), "sock")
	l, err := net.Listen("unix", s.address)
	require.NoError(t, err)
	s.server = grpc.NewServer(grpc.UnaryInterceptor(grpcerr.UnaryServer), grpc.StreamInterceptor(grpcerr.StreamServer))
	storeservice.New(local, storeservice.Options{
		Version: "test", Collected: func(c storeservice.Collection) { s.gcs = append(s.gcs, c) },
	}).Register(s.server)
	done := make(chan error, 1)
	go func() { done <- s.server.Serve(l) }()
	t.Cleanup(func() {
		s.server.Stop()
		require.NoError(t, <-done)
	})
	s.Client, err = Dial(t.Context(), s.address)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Client.Close()) })
	return s
}

// list returns the names of all snapshots.
func (s *served) list(t *testing.T) (names []string) {
	t.Helper()
	require.NoError(t, s.Walk(t.Context(), func(info snapshots.Info) error {
		names = append(names, info.Name)
		return nil
	}))
	return names
}

func TestAServiceSaysWhatItServes(t *testing.T) {
	s := serve(t)
	info := s.Info()
	require.Equal(t, s.snaps.Root(), info.Root)
	require.Equal(t, "vfs", info.Driver)
	require.Equal(t, s.snaps.Driver().Properties(), info.Properties)
	require.Equal(t, "test", info.Version)
}

func TestWithoutAServiceThereIsNoAnswer(t *testing.T) {
	_, err := Dial(t.Context(), filepath.Join(t.TempDir(), "nobody"))
	require.ErrorIs(t, err, ErrNoAnswer)
}

func TestSnapshotsThroughAServiceAreThoseOfTheStore(t *testing.T) {
	s := serve(t)
	labels := map[string]string{"a": "b"}
	require.NoError(t, s.Create(t.Context(), "work", "", labels))
	require.ErrorIs(t, s.Create(t.Context(), "work", "", nil), errdefs.ErrAlreadyExists)
	require.ErrorIs(t, s.Create(t.Context(), "other", "missing", nil), errdefs.ErrNotFound)
	got, err := s.Stat(t.Context(), "work")
	require.NoError(t, err)
	want, err := s.snaps.Stat(t.Context(), "work")
	require.NoError(t, err)
	require.Equal(t, want.Labels, got.Labels)
	require.True(t, want.Created.Equal(got.Created))
	require.Equal(t, want.Kind, got.Kind)

	require.NoError(t, s.Commit(t.Context(), "finished", "work", nil))
	require.ErrorIs(t, s.Rename(t.Context(), "finished", "finished"), errdefs.ErrAlreadyExists)
	require.ErrorIs(t, s.Rename(t.Context(), "missing", "done"), errdefs.ErrNotFound)
	require.NoError(t, s.Rename(t.Context(), "finished", "done"))
	require.NoError(t, s.View(t.Context(), "look", "done", nil))
	require.ErrorIs(t, s.Remove(t.Context(), "done", false), errdefs.ErrFailedPrecondition)
	usage, err := s.Usage(t.Context(), "done")
	require.NoError(t, err)
	require.NotZero(t, usage.Inodes)
	values, err := s.Mounts(t.Context(), "look", driver.MountOptions{})
	require.NoError(t, err)
	direct, err := s.snaps.MountValues(t.Context(), "look", driver.MountOptions{})
	require.NoError(t, err)
	require.Equal(t, direct, values)
	require.Equal(t, []string{"done", "look"}, s.list(t))
	require.NoError(t, s.Remove(t.Context(), "look", false))
	require.NoError(t, s.Remove(t.Context(), "done", false))
	require.Empty(t, s.list(t))
}

func TestManySnapshotsComeInPortions(t *testing.T) {
	s := serve(t)
	labels := map[string]string{}
	for i := range 25 {
		labels[fmt.Sprint(i)] = strings.Repeat("x", 4_000)
	}
	for _, name := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
		require.NoError(t, s.snaps.Create(t.Context(), name, "", snapshots.WithLabels(labels)))
	}
	require.Len(t, s.list(t), 8)
	stop := errors.New("stop")
	require.ErrorIs(t, s.Walk(t.Context(), func(snapshots.Info) error { return stop }), stop)
}

func TestNamesThatAreNotUTF8AreNotThere(t *testing.T) {
	s := serve(t)
	_, err := s.Stat(t.Context(), "\xff")
	require.ErrorIs(t, err, errdefs.ErrNotFound)
	require.ErrorIs(t, s.Create(t.Context(), "\xff", "", nil), errdefs.ErrInvalidArgument)
	_, err = s.Resolve(t.Context(), "\xff")
	require.ErrorIs(t, err, errdefs.ErrNotFound)
	for _, err := range s.Changes(t.Context(), "\xff") {
		require.ErrorIs(t, err, errdefs.ErrNotFound)
	}
}

func TestWhatBelongsToAnEngineIsRefusedByTheService(t *testing.T) {
	s := serve(t)
	require.NoError(t, s.snaps.Create(t.Context(), "@engine/box", ""))
	require.ErrorIs(t, s.Create(t.Context(), "@engine/x", "", nil), errdefs.ErrInvalidArgument)
	require.ErrorIs(t, s.Rename(t.Context(), "@engine/box", "mine"), errdefs.ErrFailedPrecondition)
	require.ErrorIs(t, s.Commit(t.Context(), "done", "@engine/box", nil), errdefs.ErrFailedPrecondition)
	_, err := s.Apply(t.Context(), "@engine/box", bytes.NewReader(nil), driver.ApplyOptions{})
	require.ErrorIs(t, err, errdefs.ErrFailedPrecondition)
	require.ErrorIs(t, s.Remove(t.Context(), "@engine/box", false), errdefs.ErrFailedPrecondition)
	require.NoError(t, s.Remove(t.Context(), "@engine/box", true))
}

func TestNotesAreKeptUntilTheyAreDeleted(t *testing.T) {
	s := serve(t)
	require.NoError(t, s.PutMountRecord(t.Context(), layerkeep.MountRecord{Name: "/mnt", JSON: []byte(`{"a": 1}`)}))
	require.NoError(t, s.PutMountRecord(t.Context(), layerkeep.MountRecord{Name: "/mnt", JSON: []byte(`{"a":2}`)}))
	notes, err := s.MountRecords(t.Context())
	require.NoError(t, err)
	require.Equal(t, []layerkeep.MountRecord{{Name: "/mnt", JSON: []byte(`{"a":2}`)}}, notes)
	require.ErrorIs(t, s.PutMountRecord(t.Context(), layerkeep.MountRecord{Name: "x", JSON: []byte("{")}), errdefs.ErrInvalidArgument)
	require.ErrorIs(t, s.PutMountRecord(t.Context(), layerkeep.MountRecord{Name: "x", JSON: []byte("7")}), errdefs.ErrInvalidArgument)
	require.ErrorIs(t, s.PutMountRecord(t.Context(), layerkeep.MountRecord{Name: "x", JSON: []byte("null")}), errdefs.ErrInvalidArgument)
	require.ErrorIs(t, s.PutMountRecord(t.Context(), layerkeep.MountRecord{Name: "", JSON: []byte("{}")}), errdefs.ErrInvalidArgument)
	require.NoError(t, s.DeleteMountRecord(t.Context(), "/mnt"))
	require.NoError(t, s.DeleteMountRecord(t.Context(), "/mnt"))
}

func TestARequestThatSaysNothingIsAnError(t *testing.T) {
	s := serve(t)
	_, err := s.store.Prepare(t.Context(), &storev1.PrepareRequest{Key: "x"})
	require.ErrorIs(t, err, errdefs.ErrInvalidArgument)
	_, err = s.store.PutNote(t.Context(), &storev1.PutNoteRequest{})
	require.ErrorIs(t, err, errdefs.ErrInvalidArgument)
	stream, err := s.store.Import(t.Context())
	require.NoError(t, err)
	require.NoError(t, stream.CloseSend())
	_, err = stream.Recv()
	require.Error(t, err)
	apply, err := s.store.Apply(t.Context())
	require.NoError(t, err)
	require.NoError(t, apply.Send(&storev1.ApplyRequest{DiffId: "sha256:short"}))
	_, err = apply.Recv()
	require.ErrorIs(t, err, errdefs.ErrInvalidArgument)
	_, err = s.store.Cancel(t.Context(), &storev1.CancelRequest{Call: "nobody's"})
	require.NoError(t, err)
}

func TestACollectionIsTold(t *testing.T) {
	s := serve(t)
	_, err := s.Collect(t.Context())
	require.NoError(t, err)
	_, err = s.RemoveImage(t.Context(), "nobody")
	require.ErrorIs(t, err, image.ErrNotFound)
	require.Len(t, s.gcs, 2)
	require.NoError(t, s.gcs[0].Err)
	require.Error(t, s.gcs[1].Err)
}

// blocking delivers its beginning, says so, and waits until it is let go.
type blocking struct {
	beginning io.Reader
	then      func()
	release   chan struct{}
}

func (b *blocking) Read(p []byte) (int, error) {
	n, err := b.beginning.Read(p)
	if err == nil {
		return n, nil
	}
	b.then()
	<-b.release
	return 0, io.EOF
}

func TestACallThatIsGivenUpIsUndoneWhenItReturns(t *testing.T) {
	s := serve(t)
	require.NoError(t, s.Create(t.Context(), "work", "", nil))
	ctx, cancel := context.WithCancel(t.Context())
	layer := &blocking{bytes.NewReader(make([]byte, 512)), cancel, make(chan struct{})}
	defer close(layer.release)
	_, err := s.Apply(ctx, "work", layer, driver.ApplyOptions{})
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, s.snaps.Remove(t.Context(), "work"), "nobody works on it any more")

	ctx, cancel = context.WithCancel(t.Context())
	archive := &blocking{bytes.NewReader(make([]byte, 100)), cancel, make(chan struct{})}
	defer close(archive.release)
	_, err = s.Import(ctx, image.Source{Path: "-", Reader: archive}, image.ImportOptions{})
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, s.list(t))
}

func TestAReaderThatFailsIsToBlame(t *testing.T) {
	s := serve(t)
	require.NoError(t, s.Create(t.Context(), "work", "", nil))
	broken := errors.New("the disk is broken")
	layer := io.MultiReader(bytes.NewReader(make([]byte, 512)), failing{broken})
	_, err := s.Apply(t.Context(), "work", layer, driver.ApplyOptions{})
	require.ErrorIs(t, err, broken)
	_, err = s.Import(t.Context(), image.Source{Path: "-", Reader: failing{broken}}, image.ImportOptions{})
	require.ErrorIs(t, err, broken)
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error)  { return 0, f.err }
func (f failing) Write([]byte) (int, error) { return 0, f.err }

func TestAWriterThatFailsEndsADiffAndAnExport(t *testing.T) {
	s := serve(t)
	require.NoError(t, s.Create(t.Context(), "work", "", nil))
	require.NoError(t, s.Commit(t.Context(), "done", "work", nil))
	full := errors.New("the disk is full")
	_, err := s.Diff(t.Context(), "done", failing{full}, driver.DiffOptions{})
	require.ErrorIs(t, err, full)
	_, err = s.Export(t.Context(), "done", failing{full}, image.ExportOptions{})
	require.ErrorIs(t, err, full)
	require.NoError(t, s.Remove(t.Context(), "done", false), "nobody keeps it any more")
}

func TestAClientThatHangsUpLeavesNothingBehind(t *testing.T) {
	s := serve(t)
	require.NoError(t, s.Create(t.Context(), "work", "", nil))
	ctx, cancel := context.WithCancel(t.Context())
	stream, err := s.store.Apply(ctx)
	require.NoError(t, err)
	require.NoError(t, stream.Send(&storev1.ApplyRequest{Key: "work", Data: make([]byte, 512)}))
	held, err := s.store.Hold(ctx)
	require.NoError(t, err)
	require.NoError(t, held.Send(&storev1.HoldRequest{Names: []string{"work"}}))
	_, err = held.Recv()
	require.NoError(t, err)
	cancel()
	require.NoError(t, s.Remove(t.Context(), "work", false))
	h, err := s.Reserve(t.Context(), fstest.Patience, "work")
	require.NoError(t, err)
	h.Release()
}

func TestWhatOneHoldsAnotherWaitsFor(t *testing.T) {
	s := serve(t)
	one, err := s.Reserve(t.Context(), fstest.Patience, "a", "b", "a")
	require.NoError(t, err)
	_, err = s.Reserve(t.Context(), 20*time.Millisecond, "c", "b")
	require.ErrorIs(t, err, errdefs.ErrUnavailable)
	other, err := s.Reserve(t.Context(), fstest.Patience, "c")
	require.NoError(t, err, "who waited in vain has taken nothing")
	other.Release()

	require.NoError(t, one.ReleaseOthers("b"))
	other, err = s.Reserve(t.Context(), fstest.Patience, "a")
	require.NoError(t, err)
	other.Release()

	waited := make(chan error, 1)
	go func() {
		h, err := s.Reserve(t.Context(), fstest.Patience, "b")
		if err == nil {
			h.Release()
		}
		waited <- err
	}()
	one.Release()
	require.NoError(t, <-waited)

	one, err = s.Reserve(t.Context(), fstest.Patience, "a")
	require.NoError(t, err)
	require.ErrorIs(t, one.ReleaseOthers("a", "b"), errdefs.ErrFailedPrecondition, "or two could wait for each other")
	one.Release()
	_, err = s.Reserve(t.Context(), fstest.Patience, strings.Repeat("x", 10_000))
	require.ErrorIs(t, err, errdefs.ErrInvalidArgument)
}

func TestALostServiceIsToldFromAnError(t *testing.T) {
	s := serve(t)
	s.server.Stop()
	_, err := s.Stat(t.Context(), "work")
	require.ErrorIs(t, err, ErrNoAnswer)
	require.ErrorIs(t, s.Create(t.Context(), "work", "", nil), ErrNoAnswer)
}
