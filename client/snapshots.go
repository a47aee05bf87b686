package client

import (
	"context"
	"errors"
	"io"

	"github.com/containerd/containerd/v2/core/snapshots"

	storev1 "github.com/layerkeep/layerkeep/api/store/v1"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/storewire"
	"github.com/layerkeep/layerkeep/mount"
	"github.com/layerkeep/layerkeep/snapshotter"
)

// Stat implements [layerkeep.Store].
func (c *Client) Stat(ctx context.Context, key string) (snapshots.Info, error) {
	if err := lookupName(key); err != nil {
		return snapshots.Info{}, err
	}
	s, err := c.store.Stat(ctx, &storev1.StatRequest{Key: key})
	if err != nil {
		return snapshots.Info{}, err
	}
	return storewire.ToInfo(s), nil
}

// Damage implements [layerkeep.Store]. It returns nil when the service has an
// earlier version.
func (c *Client) Damage(ctx context.Context, key string) ([]snapshotter.LayerDamage, error) {
	if err := lookupName(key); err != nil {
		return nil, err
	}
	s, err := c.store.Stat(ctx, &storev1.StatRequest{Key: key, Damage: true})
	if err != nil {
		return nil, err
	}
	return storewire.ToDamage(s.GetDamage()), nil
}

// Walk implements [layerkeep.Store].
func (c *Client) Walk(ctx context.Context, fn func(snapshots.Info) error) error {
	return c.list(ctx, &storev1.ListRequest{}, func(s *storev1.Snapshot) error { return fn(storewire.ToInfo(s)) })
}

// WalkStates implements [layerkeep.Store]. The states are empty when the
// service has an earlier version.
func (c *Client) WalkStates(ctx context.Context, fn func(snapshots.Info, snapshotter.LayerState) error) error {
	return c.list(ctx, &storev1.ListRequest{States: true}, func(s *storev1.Snapshot) error {
		return fn(storewire.ToInfo(s), snapshotter.LayerState(s.GetState()))
	})
}

func (c *Client) list(ctx context.Context, req *storev1.ListRequest, fn func(*storev1.Snapshot) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.store.List(ctx, req)
	if err != nil {
		return err
	}
	return drain(stream.Recv, func(m *storev1.ListResponse) error {
		for _, s := range m.GetSnapshots() {
			if err := fn(s); err != nil {
				return err
			}
		}
		return nil
	})
}

// drain hands all messages of a stream to fn.
func drain[M any](recv func() (M, error), fn func(M) error) error {
	for {
		m, err := recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := fn(m); err != nil {
			return err
		}
	}
}

// Usage implements [layerkeep.Store].
func (c *Client) Usage(ctx context.Context, key string) (snapshots.Usage, error) {
	if err := lookupName(key); err != nil {
		return snapshots.Usage{}, err
	}
	u, err := c.store.Usage(ctx, &storev1.UsageRequest{Key: key})
	return snapshots.Usage{Size: u.GetBytes(), Inodes: u.GetInodes()}, err
}

// Create implements [layerkeep.Store].
func (c *Client) Create(ctx context.Context, key, parent string, labels map[string]string) error {
	return c.prepare(ctx, &storev1.PrepareRequest{Key: key, Parent: parent, Kind: storev1.Kind_KIND_ACTIVE, Labels: labels})
}

// Prepare implements [layerkeep.Store].
func (c *Client) Prepare(ctx context.Context, key, parent string, labels map[string]string) error {
	return c.prepare(ctx, &storev1.PrepareRequest{
		Key: key, Parent: parent, Kind: storev1.Kind_KIND_ACTIVE, Labels: labels, Mountable: true,
	})
}

// View implements [layerkeep.Store].
func (c *Client) View(ctx context.Context, key, parent string, labels map[string]string) error {
	return c.prepare(ctx, &storev1.PrepareRequest{Key: key, Parent: parent, Kind: storev1.Kind_KIND_VIEW, Labels: labels})
}

func (c *Client) prepare(ctx context.Context, req *storev1.PrepareRequest) error {
	if err := newName(req.GetKey()); err != nil {
		return err
	}
	if req.GetParent() != "" {
		if err := lookupName(req.GetParent()); err != nil {
			return err
		}
	}
	return c.change(ctx, func(ctx context.Context) error {
		_, err := c.store.Prepare(ctx, req)
		return err
	})
}

// Commit implements [layerkeep.Store]. The error matches
// errdefs.ErrFailedPrecondition for a snapshot of an engine.
func (c *Client) Commit(ctx context.Context, name, key string, labels map[string]string) error {
	if err := newName(name); err != nil {
		return err
	}
	if err := lookupName(key); err != nil {
		return err
	}
	return c.change(ctx, func(ctx context.Context) error {
		_, err := c.store.Commit(ctx, &storev1.CommitRequest{Name: name, Key: key, Labels: labels})
		return err
	})
}

// Rename implements [layerkeep.Store]. The error matches
// errdefs.ErrFailedPrecondition for a snapshot of an engine.
func (c *Client) Rename(ctx context.Context, key, name string) error {
	if err := newName(name); err != nil {
		return err
	}
	if err := lookupName(key); err != nil {
		return err
	}
	return c.change(ctx, func(ctx context.Context) error {
		_, err := c.store.Rename(ctx, &storev1.RenameRequest{Key: key, Name: name})
		return err
	})
}

// Remove implements [layerkeep.Store]. The error matches
// errdefs.ErrFailedPrecondition for a snapshot of an image and, unless force is
// set, for a snapshot of an engine.
func (c *Client) Remove(ctx context.Context, key string, force bool) error {
	if err := lookupName(key); err != nil {
		return err
	}
	return c.change(ctx, func(ctx context.Context) error {
		_, err := c.store.Remove(ctx, &storev1.RemoveRequest{Key: key, Force: force})
		return err
	})
}

// Mounts implements [layerkeep.Store].
func (c *Client) Mounts(ctx context.Context, key string, opts driver.MountOptions) ([]mount.Mount, error) {
	if err := lookupName(key); err != nil {
		return nil, err
	}
	resp, err := c.store.Mounts(ctx, &storev1.MountsRequest{Key: key, ReadOnly: opts.ReadOnly, Volatile: opts.Volatile})
	if err != nil {
		return nil, err
	}
	return storewire.ToMounts(resp.GetMounts())
}
