package snapshotter

import (
	"fmt"

	ctdmount "github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/mount"
)

// IDMap returns the ID map in the labels of a snapshot, nil for none. The
// labels are those of containerd, [snapshots.LabelSnapshotUIDMapping] and
// LabelSnapshotGIDMapping; a map needs both. Give them to [Snapshotter.Prepare]
// or [Snapshotter.View]. They cannot be changed until the snapshot is
// committed. An error matches errdefs.ErrInvalidArgument.
func IDMap(labels map[string]string) (*mount.IDMap, error) {
	uids, haveUIDs := labels[snapshots.LabelSnapshotUIDMapping]
	gids, haveGIDs := labels[snapshots.LabelSnapshotGIDMapping]
	if !haveUIDs && !haveGIDs {
		return nil, nil
	}
	if !haveUIDs || !haveGIDs {
		return nil, fail(errdefs.ErrInvalidArgument, "labels %s and %s: one is of no use without the other",
			snapshots.LabelSnapshotUIDMapping, snapshots.LabelSnapshotGIDMapping)
	}
	m, err := mount.ParseIDMap(uids, gids)
	if err != nil {
		return nil, fail(errdefs.ErrInvalidArgument, "labels %s and %s: %w",
			snapshots.LabelSnapshotUIDMapping, snapshots.LabelSnapshotGIDMapping, err)
	}
	return &m, nil
}

// checkIDMap returns the map for a new snapshot, or an error when the snapshot
// cannot have one.
func (s *Snapshotter) checkIDMap(c creation) (*mount.IDMap, error) {
	key := c.key
	m, err := IDMap(c.labels)
	switch {
	case err != nil:
		return nil, fmt.Errorf("snapshot %q: %w", key, err)
	case m == nil:
		return nil, nil
	case s.isRemapped(c.parent, *m):
		return nil, nil
	case !s.driver.Properties().Idmap:
		return nil, classify(fmt.Errorf("snapshot %q: driver %s cannot map the IDs of a snapshot: %w",
			key, s.driver.Name(), driver.ErrUnsupported))
	}
	return m, nil
}

// inContainerd converts one mount to containerd's form. containerd does not map
// the IDs of a read-only bind mount, so that becomes a bind mount and a
// remount.
func inContainerd(m mount.Mount) []ctdmount.Mount {
	if m.Type != "bind" || m.IDMap == nil || !m.ReadOnly {
		return []ctdmount.Mount{{Type: m.Type, Source: m.Source, Options: m.Strings()}}
	}
	m.ReadOnly = false
	return []ctdmount.Mount{
		{Type: m.Type, Source: m.Source, Options: m.Strings()},
		{Type: m.Type, Source: m.Source, Options: []string{"remount", "bind", "ro"}},
	}
}
