package snapshotter

import (
	"context"
	"fmt"

	ctdmount "github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/mount"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

// Mounts returns how to mount an active snapshot or a view, in the form of
// containerd. For a committed snapshot the error matches
// errdefs.ErrFailedPrecondition.
func (s *Snapshotter) Mounts(ctx context.Context, key string) (_ []ctdmount.Mount, err error) {
	defer s.observe(Event{Op: OpMounts, Key: key}).end(&err)
	end, err := s.calls.begin()
	if err != nil {
		return nil, err
	}
	defer end()
	row, err := s.row(key)
	if err != nil {
		return nil, err
	}
	if row.Kind == meta.Committed {
		return nil, fail(errdefs.ErrFailedPrecondition, "snapshot %q is committed: make a view of it to mount it", key)
	}
	mounts, err := s.mounts(ctx, row, driver.MountOptions{})
	if err != nil {
		return nil, err
	}
	return toContainerd(mounts), nil
}

// MountValues returns how to mount a snapshot of any kind, as values of package
// mount. Views and committed snapshots get read-only mounts. A mount does not
// keep a committed snapshot from being removed; only a view of it does.
func (s *Snapshotter) MountValues(ctx context.Context, key string, opts driver.MountOptions) (_ []mount.Mount, err error) {
	defer s.observe(Event{Op: OpMounts, Key: key}).end(&err)
	end, err := s.calls.begin()
	if err != nil {
		return nil, err
	}
	defer end()
	if err := s.borrow(ctx, key); err != nil {
		return nil, err
	}
	row, err := s.row(key)
	if err != nil {
		return nil, err
	}
	return s.mounts(ctx, row, opts)
}

func (s *Snapshotter) mounts(ctx context.Context, row meta.Snapshot, opts driver.MountOptions) ([]mount.Mount, error) {
	err := s.view(func(tx *meta.Tx) error {
		if err := s.inReach(tx, row.Name); err != nil {
			return err
		}
		return notQuarantined(tx, row.Name)
	})
	if err != nil {
		return nil, fmt.Errorf("mounts of snapshot %q: %w", row.Name, err)
	}
	// A view without a parent is stored as an ordinary empty layer, so the driver
	// does not know that it is read-only.
	opts.ReadOnly = opts.ReadOnly || row.Kind != meta.Active
	mounts, err := s.driver.Mount(ctx, layerOf(row), opts)
	if err != nil {
		return nil, fmt.Errorf("mounts of snapshot %q: %w", row.Name, s.damaged(ctx, row.Name, err))
	}
	return mounts, nil
}

// toContainerd converts mounts to containerd's form, in which overlay
// directories and maps of IDs are options. containerd itself shortens long
// lists of lower directories.
func toContainerd(mounts []mount.Mount) []ctdmount.Mount {
	var out []ctdmount.Mount
	for _, m := range mounts {
		out = append(out, inContainerd(m)...)
	}
	return out
}
