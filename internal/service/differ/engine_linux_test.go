package differ

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	leasesapi "github.com/containerd/containerd/api/services/leases/v1"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/containerd/v2/plugins/services/content/contentserver"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/layerkeep/layerkeep/internal/fstest"
)

const testNamespace = "differ-test"

// inNamespace is the context of a call on the differ, as the service makes it.
func inNamespace(ctx context.Context) context.Context {
	return namespaces.WithNamespace(ctx, testNamespace)
}

// A testEngine is what the differ sees of containerd: its own content store,
// with its metadata, behind its own service on a socket.
type testEngine struct {
	t      testing.TB
	socket string
	dir    string
	db     *metadata.DB
	store  content.Store
	leases leases.Manager
	// wrap, when set, stands between the service and the store.
	wrap func(contentapi.ContentServer) contentapi.ContentServer

	mu     sync.Mutex
	server *grpc.Server
	listen net.Listener
}

func startEngine(t testing.TB) *testEngine {
	t.Helper()
	dir, err := os.MkdirTemp("", "differ-") // a socket's path is short
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	raw, err := local.NewStore(filepath.Join(dir, "content"))
	require.NoError(t, err)
	bdb, err := bolt.Open(filepath.Join(dir, "meta.db"), 0o600, &bolt.Options{NoSync: true})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, bdb.Close()) })
	e := &testEngine{t: t, dir: dir, socket: filepath.Join(dir, "sock"), db: metadata.NewDB(bdb, raw, nil)}
	require.NoError(t, e.db.Init(t.Context()))
	e.store, e.leases = e.db.ContentStore(), metadata.NewLeaseManager(e.db)
	e.start()
	t.Cleanup(e.stop)
	return e
}

func (e *testEngine) start() {
	e.t.Helper()
	listener, err := net.Listen("unix", e.socket)
	require.NoError(e.t, err)
	server := grpc.NewServer()
	contents := contentserver.New(e.store)
	if e.wrap != nil {
		contents = e.wrap(contents)
	}
	contentapi.RegisterContentServer(server, contents)
	leasesapi.RegisterLeasesServer(server, leaseServer{manager: e.leases})
	e.mu.Lock()
	e.server, e.listen = server, listener
	e.mu.Unlock()
	go func() { _ = server.Serve(listener) }() // until it is stopped
}

func (e *testEngine) stop() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.server != nil {
		e.server.Stop()
		e.listen.Close() // of a server that had not begun
		e.server = nil
	}
}

// put stores a blob and returns its descriptor.
func (e *testEngine) put(mediaType string, raw []byte) ocispec.Descriptor {
	e.t.Helper()
	desc := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
	ctx := inNamespace(context.Background())
	require.NoError(e.t, content.WriteBlob(ctx, e.store, "put-"+desc.Digest.Encoded(), bytes.NewReader(raw), desc))
	return desc
}

// damage changes a byte of a blob behind the store's back.
func (e *testEngine) damage(desc ocispec.Descriptor, offset int64) {
	e.t.Helper()
	path := filepath.Join(e.dir, "content/blobs", desc.Digest.Algorithm().String(), desc.Digest.Encoded())
	require.NoError(e.t, os.Chmod(path, 0o600))
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(e.t, err)
	b := make([]byte, 1)
	_, err = f.ReadAt(b, offset)
	require.NoError(e.t, err)
	b[0] ^= 0x40
	_, err = f.WriteAt(b, offset)
	require.NoError(e.t, err)
	require.NoError(e.t, f.Close())
}

// get returns a blob.
func (e *testEngine) get(d digest.Digest) []byte {
	e.t.Helper()
	raw, err := content.ReadBlob(inNamespace(context.Background()), e.store, ocispec.Descriptor{Digest: d})
	require.NoError(e.t, err)
	return raw
}

func (e *testEngine) blobs() []digest.Digest {
	e.t.Helper()
	found := map[digest.Digest]bool{}
	require.NoError(e.t, e.store.Walk(inNamespace(context.Background()), func(info content.Info) error {
		found[info.Digest] = true
		return nil
	}))
	return slices.Sorted(maps.Keys(found))
}

// requireNoUploads fails unless all uploads are gone, also from the disk.
func (e *testEngine) requireNoUploads() {
	e.t.Helper()
	require.Eventually(e.t, func() bool {
		statuses, err := e.store.ListStatuses(inNamespace(context.Background()))
		if err != nil || len(statuses) > 0 {
			return false
		}
		names, err := os.ReadDir(filepath.Join(e.dir, "content/ingest"))
		return (err == nil || errors.Is(err, fs.ErrNotExist)) && len(names) == 0
	}, fstest.Patience, 10*time.Millisecond, "uploads that nobody goes on with")
}

// leaseServer is as much of containerd's service as the differ uses.
type leaseServer struct {
	leasesapi.UnimplementedLeasesServer
	manager leases.Manager
}

func (s leaseServer) Create(ctx context.Context, r *leasesapi.CreateRequest) (*leasesapi.CreateResponse, error) {
	l, err := s.manager.Create(ctx, leases.WithID(r.GetID()), leases.WithLabels(r.GetLabels()))
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &leasesapi.CreateResponse{Lease: &leasesapi.Lease{ID: l.ID, Labels: l.Labels}}, nil
}

func (s leaseServer) Delete(ctx context.Context, r *leasesapi.DeleteRequest) (*emptypb.Empty, error) {
	if err := s.manager.Delete(ctx, leases.Lease{ID: r.GetID()}); err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &emptypb.Empty{}, nil
}

func (s leaseServer) AddResource(ctx context.Context, r *leasesapi.AddResourceRequest) (*emptypb.Empty, error) {
	err := s.manager.AddResource(ctx, leases.Lease{ID: r.GetID()}, leases.Resource{ID: r.GetResource().GetID(), Type: r.GetResource().GetType()})
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &emptypb.Empty{}, nil
}
