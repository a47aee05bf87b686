package layerdir

import (
	"context"
	"errors"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/durable"
)

// EndVolatile syncs a layer and removes the mark of [Store.MarkVolatile],
// before the layer is mounted without "volatile". It does nothing for a layer
// that is still mounted, or if the machine has stopped since the mark was
// written.
func (s *Store) EndVolatile(ctx context.Context, id driver.ID) error {
	marked, stopped, err := s.volatile(id)
	if err != nil || !marked || stopped {
		return err
	}
	err = s.NotMounted(id, Unmounted)
	if err == nil {
		err = s.NotWritableElsewhere(ctx, id)
	}
	if errors.Is(err, driver.ErrBusy) {
		return nil
	}
	if err == nil {
		err = s.syncLayer(id)
	}
	if err == nil {
		err = durable.OS().Remove(s.Path(id, volatileName))
	}
	if err != nil {
		return err
	}
	return durable.OS().SyncDir(s.Path(id))
}
