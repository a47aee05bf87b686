package service

import (
	"context"

	ctdmount "github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"

	"github.com/containerd/containerd/v2/core/diff"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layerkeep/layerkeep/internal/service/grpcerr"
	"github.com/layerkeep/layerkeep/snapshotter"
)

// The adapters of package contrib turn an error into a status by its kind of
// errdefs alone, and forget the error. These wrappers give errors their status
// first, which the adapters leave as it is.

// engineScope is a scope whose errors have a status.
type engineScope struct{ scope *snapshotter.Scope }

var (
	_ snapshots.Snapshotter = engineScope{}
	_ snapshots.Cleaner     = engineScope{}
)

func (e engineScope) Prepare(ctx context.Context, key, parent string, opts ...snapshots.Opt) ([]ctdmount.Mount, error) {
	mounts, err := e.scope.Prepare(ctx, key, parent, opts...)
	return mounts, grpcerr.ToGRPC(err)
}

func (e engineScope) View(ctx context.Context, key, parent string, opts ...snapshots.Opt) ([]ctdmount.Mount, error) {
	mounts, err := e.scope.View(ctx, key, parent, opts...)
	return mounts, grpcerr.ToGRPC(err)
}

func (e engineScope) Mounts(ctx context.Context, key string) ([]ctdmount.Mount, error) {
	mounts, err := e.scope.Mounts(ctx, key)
	return mounts, grpcerr.ToGRPC(err)
}

func (e engineScope) Commit(ctx context.Context, name, key string, opts ...snapshots.Opt) error {
	return grpcerr.ToGRPC(e.scope.Commit(ctx, name, key, opts...))
}

func (e engineScope) Remove(ctx context.Context, key string) error {
	return grpcerr.ToGRPC(e.scope.Remove(ctx, key))
}

func (e engineScope) Stat(ctx context.Context, key string) (snapshots.Info, error) {
	info, err := e.scope.StatWhole(ctx, key)
	return info, grpcerr.ToGRPC(err)
}

func (e engineScope) Update(ctx context.Context, info snapshots.Info, fieldpaths ...string) (snapshots.Info, error) {
	info, err := e.scope.Update(ctx, info, fieldpaths...)
	return info, grpcerr.ToGRPC(err)
}

func (e engineScope) Usage(ctx context.Context, key string) (snapshots.Usage, error) {
	usage, err := e.scope.Usage(ctx, key)
	return usage, grpcerr.ToGRPC(err)
}

func (e engineScope) Walk(ctx context.Context, fn snapshots.WalkFunc, filters ...string) error {
	return grpcerr.ToGRPC(e.scope.Walk(ctx, fn, filters...))
}

func (e engineScope) Cleanup(ctx context.Context) error { return grpcerr.ToGRPC(e.scope.Cleanup(ctx)) }
func (e engineScope) Close() error                      { return nil }

// engineDiffer is a differ whose errors have a status.
type engineDiffer struct {
	differ interface {
		diff.Applier
		diff.Comparer
	}
}

func (e engineDiffer) Apply(ctx context.Context, desc ocispec.Descriptor, mounts []ctdmount.Mount, opts ...diff.ApplyOpt) (ocispec.Descriptor, error) {
	got, err := e.differ.Apply(ctx, desc, mounts, opts...)
	return got, grpcerr.ToGRPC(err)
}

func (e engineDiffer) Compare(ctx context.Context, lower, upper []ctdmount.Mount, opts ...diff.Opt) (ocispec.Descriptor, error) {
	got, err := e.differ.Compare(ctx, lower, upper, opts...)
	return got, grpcerr.ToGRPC(err)
}
