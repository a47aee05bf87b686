package storeservice

import (
	"context"
	"fmt"
	"strings"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"

	storev1 "github.com/layerkeep/layerkeep/api/store/v1"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/storewire"
	"github.com/layerkeep/layerkeep/snapshotter"
)

// Stat implements the call of that name.
func (s *Service) Stat(ctx context.Context, req *storev1.StatRequest) (*storev1.Snapshot, error) {
	info, err := s.store.Stat(ctx, req.GetKey())
	if err != nil {
		return nil, err
	}
	resp := storewire.FromInfo(info)
	if !req.GetDamage() {
		return resp, nil
	}
	damage, err := s.store.Damage(ctx, req.GetKey())
	if err != nil {
		return nil, err
	}
	resp.Damage = storewire.FromDamage(damage)
	return resp, nil
}

// listBatch is how many snapshots of a list are in memory.
const listBatch = 256

// List implements the call of that name.
func (s *Service) List(req *storev1.ListRequest, stream storev1.Store_ListServer) error {
	var some []*storev1.Snapshot
	send := func() error {
		return portions(some, func(some []*storev1.Snapshot) error { return stream.Send(&storev1.ListResponse{Snapshots: some}) })
	}
	add := func(info snapshots.Info, state snapshotter.LayerState) error {
		m := storewire.FromInfo(info)
		m.State = string(state)
		if some = append(some, m); len(some) < listBatch {
			return nil
		}
		err := send()
		some = some[:0]
		return err
	}
	list := func() error { return s.store.WalkStates(stream.Context(), add) }
	if !req.GetStates() {
		list = func() error {
			return s.store.Walk(stream.Context(), func(info snapshots.Info) error { return add(info, snapshotter.LayerSound) })
		}
	}
	err := list()
	if err != nil {
		return err
	}
	return send()
}

// Usage implements the call of that name.
func (s *Service) Usage(ctx context.Context, req *storev1.UsageRequest) (*storev1.UsageResponse, error) {
	u, err := s.store.Usage(ctx, req.GetKey())
	if err != nil {
		return nil, err
	}
	return &storev1.UsageResponse{Bytes: u.Size, Inodes: u.Inodes}, nil
}

// Prepare implements the call of that name.
func (s *Service) Prepare(ctx context.Context, req *storev1.PrepareRequest) (*storev1.PrepareResponse, error) {
	ctx, end := s.calls.begin(ctx)
	defer end()
	if err := refuseMark(req.GetKey()); err != nil {
		return nil, err
	}
	var err error
	switch {
	case req.GetKind() == storev1.Kind_KIND_VIEW:
		err = s.store.View(ctx, req.GetKey(), req.GetParent(), req.GetLabels())
	case req.GetKind() != storev1.Kind_KIND_ACTIVE:
		err = fmt.Errorf("%w: a snapshot is made active or as a view", errdefs.ErrInvalidArgument)
	case req.GetMountable():
		err = s.store.Prepare(ctx, req.GetKey(), req.GetParent(), req.GetLabels())
	default:
		err = s.store.Create(ctx, req.GetKey(), req.GetParent(), req.GetLabels())
	}
	if err != nil {
		return nil, err
	}
	return &storev1.PrepareResponse{}, nil
}

// Commit implements the call of that name.
func (s *Service) Commit(ctx context.Context, req *storev1.CommitRequest) (*storev1.CommitResponse, error) {
	ctx, end := s.calls.begin(ctx)
	defer end()
	if err := refuseNames(req.GetKey(), req.GetName()); err != nil {
		return nil, err
	}
	if err := s.store.Commit(ctx, req.GetName(), req.GetKey(), req.GetLabels()); err != nil {
		return nil, err
	}
	return &storev1.CommitResponse{}, nil
}

// Rename implements the call of that name.
func (s *Service) Rename(ctx context.Context, req *storev1.RenameRequest) (*storev1.RenameResponse, error) {
	ctx, end := s.calls.begin(ctx)
	defer end()
	if err := refuseNames(req.GetKey(), req.GetName()); err != nil {
		return nil, err
	}
	if err := s.store.Rename(ctx, req.GetKey(), req.GetName()); err != nil {
		return nil, err
	}
	return &storev1.RenameResponse{}, nil
}

// Remove implements the call of that name.
func (s *Service) Remove(ctx context.Context, req *storev1.RemoveRequest) (*storev1.RemoveResponse, error) {
	ctx, end := s.calls.begin(ctx)
	defer end()
	if !req.GetForce() {
		if err := refuseScoped(req.GetKey()); err != nil {
			return nil, err
		}
	}
	if err := s.store.Remove(ctx, req.GetKey(), req.GetForce()); err != nil {
		return nil, err
	}
	return &storev1.RemoveResponse{}, nil
}

// Mounts implements the call of that name.
func (s *Service) Mounts(ctx context.Context, req *storev1.MountsRequest) (*storev1.MountsResponse, error) {
	mounts, err := s.store.Mounts(ctx, req.GetKey(), driver.MountOptions{ReadOnly: req.GetReadOnly(), Volatile: req.GetVolatile()})
	if err != nil {
		return nil, err
	}
	return &storev1.MountsResponse{Mounts: storewire.FromMounts(mounts)}, nil
}

// refuseMark keeps the names of engines' snapshots for engines.
func refuseMark(name string) error {
	if strings.HasPrefix(name, "@") {
		return fmt.Errorf("%w: snapshot %q: names that begin with @ are those of engines", errdefs.ErrInvalidArgument, name)
	}
	return nil
}

// refuseScoped returns errdefs.ErrFailedPrecondition for a snapshot of an
// engine, which only that engine may change.
func refuseScoped(key string) error {
	if scope, _ := snapshotter.ScopeOf(key); scope != "" {
		return fmt.Errorf("%w: snapshot %q belongs to the engine %q", errdefs.ErrFailedPrecondition, key, scope)
	}
	return nil
}

// refuseNames is refuseScoped for the name that a snapshot has, and refuseMark
// for the name that it gets.
func refuseNames(key, name string) error {
	if err := refuseMark(name); err != nil {
		return err
	}
	return refuseScoped(key)
}
