package service

import (
	"bytes"
	"context"
	"net"
	"path/filepath"
	"strings"
	"testing"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	diffapi "github.com/containerd/containerd/api/services/diff/v1"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/containerd/v2/plugins/services/content/contentserver"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/layerkeep/layerkeep/driver"
)

// busyStore is the content store of an engine. Once it is told what to call, it
// lets one message of a stream pass and calls that. It then sends nothing more
// of a blob until the stream ends, and goes on with an upload.
type busyStore struct {
	contentapi.ContentServer
	store content.Store
	then  func()
}

func serveContent(t *testing.T, address string) *busyStore {
	t.Helper()
	store, err := local.NewStore(filepath.Join(t.TempDir(), "content"))
	require.NoError(t, err)
	b := &busyStore{ContentServer: contentserver.New(store), store: store}
	l, err := net.Listen("unix", address)
	require.NoError(t, err)
	server := grpc.NewServer()
	contentapi.RegisterContentServer(server, b)
	go func() { _ = server.Serve(l) }() // until it is stopped
	t.Cleanup(server.Stop)
	return b
}

func (b *busyStore) Read(req *contentapi.ReadContentRequest, s contentapi.Content_ReadServer) error {
	return b.ContentServer.Read(req, &busyRead{Content_ReadServer: s, then: b.then})
}

func (b *busyStore) Write(s contentapi.Content_WriteServer) error {
	return b.ContentServer.Write(&busyWrite{Content_WriteServer: s, then: b.then})
}

type busyRead struct {
	contentapi.Content_ReadServer
	then func()
	sent bool
}

func (b *busyRead) Send(m *contentapi.ReadContentResponse) error {
	if b.sent && b.then != nil {
		b.then()
		<-b.Context().Done()
	}
	b.sent = true
	return b.Content_ReadServer.Send(m)
}

type busyWrite struct {
	contentapi.Content_WriteServer
	then func()
	seen int
}

func (b *busyWrite) Recv() (*contentapi.WriteContentRequest, error) {
	if b.seen++; b.seen == 3 && b.then != nil { // the first asks how far it is
		b.then()
	}
	return b.Content_WriteServer.Recv()
}

func TestAnEngineThatHangsUpOnTheDifferLeavesNothing(t *testing.T) {
	root := t.TempDir()
	s := start(t, root, "vfs", nil)
	engine := serveContent(t, s.config.ContainerdAddress)
	differ := diffapi.NewDiffClient(s.conn)
	layer := bigLayer(t)
	desc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromBytes(layer), Size: int64(len(layer))}
	require.NoError(t, content.WriteBlob(asEngine(t), engine.store, "blob", bytes.NewReader(layer), desc))
	mounts := map[string][]mount.Mount{}
	for _, key := range []string{"half", "full"} {
		var err error
		mounts[key], err = s.engine.Prepare(asEngine(t), key, "")
		require.NoError(t, err)
	}
	apply := func(ctx context.Context, key string) error {
		_, err := differ.Apply(ctx, &diffapi.ApplyRequest{Diff: oci.DescriptorToProto(desc), Mounts: mount.ToProto(mounts[key])})
		return err
	}
	compare := func(ctx context.Context) error {
		_, err := differ.Diff(ctx, &diffapi.DiffRequest{Right: mount.ToProto(mounts["full"]), MediaType: ocispec.MediaTypeImageLayer})
		return err
	}
	require.NoError(t, apply(asEngine(t), "full")) // and now it has connected
	calm := footprintOf(t, root)

	for name, call := range map[string]func(context.Context) error{
		"apply": func(ctx context.Context) error { return apply(ctx, "half") },
		"diff":  compare,
	} {
		ctx, hangUp := context.WithCancel(asEngine(t))
		ended, heard := make(chan struct{}), make(chan error, 1)
		engine.then = func() {
			hangUp()
			<-ended
			// One connection carries both, in this order: once the service has answered
			// this, it knows that the caller is gone.
			_, err := s.engine.Stat(asEngine(t), "full")
			heard <- err
		}
		err := call(ctx)
		close(ended)
		require.Equal(t, codes.Canceled, status.Code(err), name)
		require.NoError(t, <-heard, name)
	}
	requireNoLeak(t, root, calm)
	engine.then = nil
	eventually(t, func() bool {
		uploads, err := engine.store.ListStatuses(asEngine(t))
		return err == nil && len(uploads) == 0
	}, "no upload is left that nobody goes on with")
	blobs := 0
	require.NoError(t, engine.store.Walk(asEngine(t), func(content.Info) error { blobs++; return nil }))
	require.Equal(t, 1, blobs)
	for _, err := range s.tool().Changes(t.Context(), "@containerd/half") {
		require.NoError(t, err)
		require.Fail(t, "a layer is applied whole or not at all")
	}
	require.NoError(t, apply(asEngine(t), "half"))
	require.NoError(t, compare(asEngine(t)))
	var whole strings.Builder
	_, err := s.tool().Diff(t.Context(), "@containerd/half", &whole, driver.DiffOptions{})
	require.NoError(t, err)
	require.Greater(t, whole.Len(), len(layer)/2)
	require.NoError(t, s.engine.Remove(asEngine(t), "half"))
	s.requireSound()
}
