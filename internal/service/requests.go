package service

import (
	"context"
	"fmt"

	diffapi "github.com/containerd/containerd/api/services/diff/v1"
	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/proxy"
	"github.com/containerd/errdefs"
	"google.golang.org/protobuf/proto"
)

// The adapters of package contrib take every request for whole, and send lists
// in messages of 100 however large these become.

// Bounds of one message of a list. Who reads it may take no more than the 4 MiB
// that are usual with gRPC.
const (
	listItems = 100
	listBytes = 1 << 20
)

// snapshotsServer is the adapter of a scope with the requests checked.
type snapshotsServer struct {
	snapshotsapi.SnapshotsServer
	scope engineScope
}

// Update refuses a request that does not say for what it is.
func (s snapshotsServer) Update(ctx context.Context, req *snapshotsapi.UpdateSnapshotRequest) (*snapshotsapi.UpdateSnapshotResponse, error) {
	if req.GetInfo() == nil {
		return nil, fmt.Errorf("%w: an update without a snapshot", errdefs.ErrInvalidArgument)
	}
	return s.SnapshotsServer.Update(ctx, req)
}

// List sends no message that is too large to be received.
func (s snapshotsServer) List(req *snapshotsapi.ListSnapshotsRequest, stream snapshotsapi.Snapshots_ListServer) error {
	var some []*snapshotsapi.Info
	size := 0
	send := func() error {
		err := stream.Send(&snapshotsapi.ListSnapshotsResponse{Info: some})
		some, size = nil, 0
		return err
	}
	err := s.scope.Walk(stream.Context(), func(_ context.Context, info snapshots.Info) error {
		next := proxy.InfoToProto(info)
		n := proto.Size(next)
		if len(some) == listItems || len(some) > 0 && size+n > listBytes {
			if err := send(); err != nil {
				return err
			}
		}
		some, size = append(some, next), size+n
		return nil
	}, req.GetFilters()...)
	if err != nil || len(some) == 0 {
		return err
	}
	return send()
}

// diffServer is the adapter of a differ with the requests checked.
type diffServer struct{ diffapi.DiffServer }

// Apply refuses a request without a layer.
func (d diffServer) Apply(ctx context.Context, req *diffapi.ApplyRequest) (*diffapi.ApplyResponse, error) {
	if req.GetDiff() == nil {
		return nil, fmt.Errorf("%w: a layer to apply is missing", errdefs.ErrInvalidArgument)
	}
	return d.DiffServer.Apply(ctx, req)
}
