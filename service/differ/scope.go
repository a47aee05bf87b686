package differ

import (
	"context"
	"errors"
	"io"
	"slices"

	"github.com/containerd/containerd/v2/core/mount"
	snapshots "github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/snapshotter"
)

// snapshotSet is what a Differ needs of a scope.
type snapshotSet interface {
	Find(ctx context.Context, mounts []mount.Mount) (string, error)
	Shown(ctx context.Context, mounts []mount.Mount) (string, error)
	Stat(ctx context.Context, key string) (snapshots.Info, error)
	ApplyFrom(ctx context.Context, key, source string, layer io.Reader, opts driver.ApplyOptions) (driver.Applied, error)
	Diff(ctx context.Context, key string, w io.Writer, opts driver.DiffOptions) (diff.Stats, error)
	OpenView(ctx context.Context, key string) (diff.View, error)
}

func adapt(store *snapshotter.Snapshotter, scope *snapshotter.Scope) snapshotSet {
	if s, ok := any(scope).(snapshotSet); ok {
		return s
	}
	return adapter{scope, store}
}

type adapter struct {
	*snapshotter.Scope
	store *snapshotter.Snapshotter
}

func (a adapter) Find(ctx context.Context, mounts []mount.Mount) (string, error) {
	found := ""
	err := a.Walk(ctx, func(ctx context.Context, info snapshots.Info) error {
		if info.Kind == snapshots.KindCommitted {
			return nil
		}
		own, err := a.Mounts(ctx, info.Name)
		if err == nil && slices.EqualFunc(own, mounts, func(x, y mount.Mount) bool {
			return x.Type == y.Type && x.Source == y.Source && slices.Equal(x.Options, y.Options)
		}) {
			found = info.Name
		}
		if errdefs.IsNotFound(err) {
			return nil
		}
		return err
	})
	if err == nil && found == "" {
		err = errdefs.ErrNotFound
	}
	return found, err
}

func (a adapter) Shown(ctx context.Context, mounts []mount.Mount) (string, error) {
	if len(mounts) == 0 {
		return "", nil
	}
	key, err := a.Find(ctx, mounts)
	if err != nil {
		return "", err
	}
	info, err := a.Stat(ctx, key)
	if info.Kind == snapshots.KindView {
		return info.Parent, err
	}
	return key, err
}

func (a adapter) ApplyFrom(ctx context.Context, key, _ string, layer io.Reader, opts driver.ApplyOptions) (driver.Applied, error) {
	return a.store.Apply(ctx, a.Full(key), layer, opts)
}

func (a adapter) Diff(ctx context.Context, key string, w io.Writer, opts driver.DiffOptions) (diff.Stats, error) {
	return a.store.Diff(ctx, a.Full(key), w, opts)
}

func (a adapter) OpenView(ctx context.Context, key string) (diff.View, error) {
	return a.store.OpenView(ctx, a.Full(key))
}

var _ = errors.New
