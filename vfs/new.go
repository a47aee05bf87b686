package vfs

import (
	"context"
	"fmt"

	"github.com/layerkeep/layerkeep/driver"
)

// New opens the store of this driver in root, which it creates when missing.
// Returns an error matching [driver.ErrUnsupported] when the file system or
// the kernel cannot carry it.
func New(ctx context.Context, root string, opts driver.Options) (driver.Driver, error) {
	return nil, fmt.Errorf("vfs: %w", driver.ErrUnsupported)
}
