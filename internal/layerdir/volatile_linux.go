package layerdir

import (
	"bytes"
	"context"
	"errors"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/durable"
)

// EndVolatile takes back what [Store.MarkVolatile] has said of a layer, before
// it is mounted with syncs: it puts on disk what was written to the layer. A
// layer that is mounted still keeps the mark, and so does one that the machine
// has stopped under.
func (s *Store) EndVolatile(ctx context.Context, id driver.ID) error {
	marked, err := s.markedVolatile(id)
	if err != nil || marked == nil {
		return err
	}
	boot, err := s.bootID()
	if err != nil || !bytes.Equal(marked, boot) {
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
