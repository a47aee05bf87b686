package layerdir

import (
	"context"
	"errors"
	"fmt"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/mount"
)

// An idMapProber tries whether mounts can have mapped IDs, as [mount.Mounter]
// does.
type idMapProber interface {
	ProbeIDMap(ctx context.Context, dir string, overlay bool) error
}

// CanMap finds out by mounting whether mounts of layers of this store can have
// mapped IDs: binds, or with overlay the lower directories of overlays.
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

// CheckIDMap refuses a map that a layer cannot have; can is what CanMap says.
func CheckIDMap(m *mount.IDMap, can bool) error {
	switch {
	case m == nil:
		return nil
	case !can:
		return fmt.Errorf("%w: mounts with mapped IDs", driver.ErrUnsupported)
	}
	return m.Validate()
}
