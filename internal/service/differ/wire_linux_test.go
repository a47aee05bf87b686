package differ

import (
	"net"
	"path/filepath"
	"testing"

	diffapi "github.com/containerd/containerd/api/services/diff/v1"
	"github.com/containerd/containerd/v2/contrib/diffservice"
	"github.com/containerd/containerd/v2/core/diff"
	diffproxy "github.com/containerd/containerd/v2/core/diff/proxy"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/layerkeep/layerkeep/internal/fstest"
)

// containerd calls a proxied differ with its own client, which says the
// namespace in a header.
func TestContainerdsClientReachesTheDiffer(t *testing.T) {
	onBackends(t, func(t *testing.T, r *rig) {
		socket := filepath.Join(r.engine.dir, "differ")
		listener, err := net.Listen("unix", socket)
		require.NoError(t, err)
		server := grpc.NewServer()
		diffapi.RegisterDiffServer(server, diffservice.FromApplierAndComparer(r, r))
		go func() { _ = server.Serve(listener) }() // until it is stopped
		defer server.Stop()
		conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
		require.NoError(t, err)
		defer conn.Close()
		remote := diffproxy.NewDiffApplier(diffapi.NewDiffClient(conn)).(interface {
			diff.Applier
			diff.Comparer
		})

		raw := fstest.Layer(t, baseEntries...)
		desc := r.engine.put(ocispec.MediaTypeImageLayer, raw)
		mounts := r.prepare("key", "")
		got, err := remote.Apply(r.ctx(), desc, mounts)
		require.NoError(t, err)
		require.Equal(t, digest.FromBytes(raw), got.Digest)
		got, err = remote.Compare(r.ctx(), nil, mounts)
		require.NoError(t, err)
		require.Equal(t, r.native("key"), r.layer(got))

		stranger := []mount.Mount{{Type: "bind", Source: "/"}}
		_, err = remote.Apply(r.ctx(), desc, stranger)
		require.ErrorIs(t, err, errdefs.ErrNotImplemented)
		_, err = remote.Compare(r.ctx(), stranger, mounts)
		require.ErrorIs(t, err, errdefs.ErrNotImplemented)
		desc.Digest = digest.FromString("nothing")
		_, err = remote.Apply(r.ctx(), desc, mounts)
		require.ErrorIs(t, err, errdefs.ErrNotFound)
	})
}
