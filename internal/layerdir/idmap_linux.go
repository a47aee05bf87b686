package layerdir

import (
	"context"
	"errors"
	"fmt"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/mount"
)

// An idMapProber probes whether mounts can have mapped IDs. [mount.Mounter] is
// one.
type idMapProber interface {
	ProbeIDMap(ctx context.Context, dir string, overlay bool) error
}

// CanMap probes whether mounts of this store's layers can have mapped IDs. It
// probes bind mounts, or with overlay the lower directories of an overlay.
func (s *Store) CanMap(ctx context.Context, mounter idMapProber, overlay bool) (bool, error) {
	dir, done, err := s.Staging("probe")
	if err != nil {
		return false, err
	}
	defer done()
	err = mounter.ProbeIDMap(ctx, dir, overlay)
	if errors.Is(err, mount.ErrUnsupported) {
		return false, nil
	}
	return err == nil, err
}

// CheckIDMap returns an error for an ID map that a layer cannot have. can is
// the result of CanMap.
func CheckIDMap(m *mount.IDMap, can bool) error {
	switch {
	case m == nil:
		return nil
	case !can:
		return fmt.Errorf("%w: mounts with mapped IDs", driver.ErrUnsupported)
	}
	return m.Validate()
}
