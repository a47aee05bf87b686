package btrfs

import (
	"context"
	"fmt"

	"github.com/layerkeep/layerkeep/driver"
)

// NoWriters makes copies of the layer's mounts read-only that other mount namespaces have.
// A sealed layer is read-only by itself, also through such a mount, but not for files that
// were open before.
func (d *backend) NoWriters(ctx context.Context, id driver.ID) error {
	if err := d.store.NotWritableElsewhere(ctx, id); err != nil {
		return fmt.Errorf("btrfs: look for who writes to layer %s: %w", id, err)
	}
	return nil
}

// SeesUnmounted implements [driver.WriterFinder].
func (d *backend) SeesUnmounted() bool { return false }
